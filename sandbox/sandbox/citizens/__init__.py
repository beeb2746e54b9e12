"""The register of citizens that checks real names, simulated: our own contract, since the true
interfaces are not public."""
