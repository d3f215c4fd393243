"""Many servers that give one answer: an edge that hands requests on to replicas, and checks them."""
