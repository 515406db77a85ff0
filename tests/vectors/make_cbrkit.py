"""Makes the similarities in `cbrkit_similarity.json` with cbrkit (MIT), which needs Python 3.12 or later.

    pip install cbrkit==1.1.0
    python tests/vectors/make_cbrkit.py > tests/vectors/cbrkit_similarity.json

Needs nothing of MedFed. Cases have two numbers, two codes and a code with a path of three levels; both sides know all
of them, as cbrkit says nothing of missing values. The paths' similarity is that of Wu and Palmer, which is the part
of shared levels where both paths are equally deep.
"""

from __future__ import annotations

import json
import random

from cbrkit.sim import aggregator, attribute_value, generic, numbers, taxonomy  # pyright: ignore

RANGES = {"age": 80.0, "crp": 200.0}
CODES = {"sex": ["female", "male"], "unit": ["a", "b", "c", "d"]}
PATHS = [
    "cardio|shock|septic",
    "cardio|shock|other",
    "cardio|rhythm|flutter",
    "lung|infection|viral",
    "lung|asthma|mild",
]
WEIGHTS = [
    {"age": 1.0, "crp": 1.0, "sex": 1.0, "unit": 1.0, "reason": 1.0},
    {"age": 0.5, "crp": 2.0, "sex": 0.25, "unit": 1.0, "reason": 3.0},
]


def tree() -> dict[str, object]:
    """The paths as cbrkit reads a taxonomy: each node named by its whole path."""
    nodes: dict[str, object] = {}
    for first in sorted({path.split("|")[0] for path in PATHS}):
        seconds = sorted({"|".join(path.split("|")[:2]) for path in PATHS if path.startswith(first + "|")})
        children = [
            {"name": second, "children": [{"name": path} for path in PATHS if path.startswith(second + "|")]}
            for second in seconds
        ]
        nodes[first] = {"name": first, "children": children}
    return {"name": "all", "children": list(nodes.values())}


def main() -> None:
    """Print the document."""
    drawn = random.Random(20)
    cases = [
        {
            "age": float(drawn.randrange(10, 91)),
            "crp": float(drawn.randrange(0, 201)),
            "sex": drawn.choice(CODES["sex"]),
            "unit": drawn.choice(CODES["unit"]),
            "reason": drawn.choice(PATHS),
        }
        for _ in range(16)
    ]
    parts = {name: numbers.linear(max=width) for name, width in RANGES.items()}
    parts |= {name: generic.equality() for name in CODES}
    parts["reason"] = taxonomy.build(taxonomy.SerializedTaxonomyNode.model_validate(tree()), taxonomy.wu_palmer())
    found = []
    for weights in WEIGHTS:
        similarity = attribute_value(attributes=parts, aggregator=aggregator("mean", weights))
        pairs = [(case, query) for query in cases[:4] for case in cases]
        found.append([float(one.value) for one in similarity(pairs)])
    document = {"cbrkit": "1.1.0", "ranges": RANGES, "codes": CODES, "paths": PATHS, "weights": WEIGHTS}
    document |= {"cases": [list(case.values()) for case in cases], "similarities": found}
    print(json.dumps(document))


if __name__ == "__main__":
    main()
