"""Who works on the shards of a job: processes of this machine, ranks of a cluster, or tasks of Ray."""
