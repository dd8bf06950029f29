"""`raysearch run` on the cluster that this is submitted to: the arguments and the exit status are those of `raysearch run`.

::

    ray submit cluster.yaml scripts/submit_search.py -- jets --out s3://bucket/jets
    ray job submit --working-dir scripts -- python submit_search.py jets --out s3://bucket/jets
"""

import sys

from raysearch.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", "--set", "run.address=auto", *sys.argv[1:]]))
