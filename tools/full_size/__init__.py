"""The case of the question once at full size: a GoogLeNet that breaks, recorded and explained."""
