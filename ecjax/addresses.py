"""Where public data is fetched from: the only place in ecjax that names a host.

Addresses as documented publicly, 2026-11; they could not be tried from where this was written.
"""

from __future__ import annotations

# Tessera's Zarr stores, one for each version and variant, in Source Cooperative's bucket: where
# geotessera 0.11.0 reads them (its registry.DATASETS and store.zarr_store), since the gateway, the
# same paths below https://data.source.coop/tessera/tessera/zarr, refuses many requests at a time.
_TESSERA = "https://s3.us-west-2.amazonaws.com/us-west-2.opendata.source.coop/tessera/tessera/zarr"
TESSERA = {"v1": f"{_TESSERA}/v1", "v1.1": f"{_TESSERA}/v1.1-dclimate"}

# The model hub, whose own variable HF_ENDPOINT names another address, and the label sets there.
HUB = "https://huggingface.co"
COORDBENCH = "taylor-geospatial/coordbench"
