"""Labelling public cases by the noisy votes of hospitals' teachers: planning, teachers, votes, the student, attacks."""
