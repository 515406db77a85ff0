"""Diagnosis by similar cases: retrieval, weights and votes. Supports a clinician and never replaces one."""
