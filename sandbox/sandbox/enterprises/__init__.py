"""The register of enterprises, simulated: our own contract, since the true interfaces are not
public."""
