"""The engine on Ray: the actors that read and detect, the driver that hands out shards to them, and who watches them."""
