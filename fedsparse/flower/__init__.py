"""The same strategy files on real devices: their two halves behind Flower's ServerApp and ClientApp."""
