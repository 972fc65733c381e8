"""Where public data is fetched from: the only place in ecjax that names a host.

Addresses as documented publicly, 2026-11; they could not be tried from where this was written.
"""

from __future__ import annotations

# Tessera's Zarr stores, one for each version and variant, below one folder on Source Cooperative:
# as in geotessera 0.10.1 (its registry.zarr_store_url) and, for v1.1, in that project's notes on
# moving the store there.
TESSERA = {
    "v1": "https://data.source.coop/tessera/tessera/zarr/v1",
    "v1.1": "https://data.source.coop/tessera/tessera/zarr/v1.1-dclimate",
}

# The model hub, whose own variable HF_ENDPOINT names another address, and the label sets there.
HUB = "https://huggingface.co"
COORDBENCH = "taylor-geospatial/coordbench"
