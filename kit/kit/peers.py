"""Peers that are believed: single addresses and whole networks, as settings name them."""

from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


class Peers:
    """`address in Peers(["10.1.2.3", "10.4.0.0/16"])`. A host that is no address is in none."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError for what is neither an address nor a network."""
        self._networks = _parse(tuple(entries))

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if found.version == 6 and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)


@cache
def _parse(entries: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(entry.strip()) for entry in entries)
