"""What the built artefacts cost: start, warm requests, memory and sizes, beside references in the same run."""
