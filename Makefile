# dev.py does the work; these are the names fingers know.
.PHONY: check test drill score fuzz fuzz-service benchmarks exactly-once

check:
	python3 dev.py check

test:
	python3 dev.py test

drill:
	python3 dev.py drill

# Real error answers of other APIs, kept beside the project; see docs/dialects.md.
score:
	.venv/bin/python ../shared/corpus/score.py --misses --at-least 97

fuzz:
	.venv/bin/python fuzz/decode.py --seconds 60

fuzz-service:
	.venv/bin/python fuzz/service.py --requests 10000

benchmarks:
	.venv/bin/python benchmarks/run.py --compare --write docs/performance.md

# 100,000 writes to each store through faults and kills; an hour and a half.
exactly-once:
	.venv/bin/python benchmarks/exactly_once.py --write docs/exactly-once.md
