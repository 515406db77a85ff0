"""One hospital's node: its replica, its CometBFT and its agent, each watched. Serves peers only."""
