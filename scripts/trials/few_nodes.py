"""A Ray cluster on this host: a head without a CPU and two nodes with one each, until standard input ends.

Tells in one line of JSON where it is, and the process id of each node's raylet.
"""

import json
import sys

from ray.cluster_utils import Cluster

STORE_BYTES = 100 * 2**20

if __name__ == "__main__":
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    cluster.wait_for_nodes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    cluster.shutdown()
