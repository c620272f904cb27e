"""Who places crews: a child process here, or a cluster's nodes; each engine is one module."""
