"""The post-mortem of a run as one HTML file that opens offline."""
