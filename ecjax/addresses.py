"""Where public data is fetched from: the only place in ecjax that names a host.

Addresses as documented publicly, 2026-11; they could not be tried from where this was written.
"""

from __future__ import annotations

# AlphaEarth Foundations' annual files: below each are YEAR/ZONE/NAME.tiff and aef_index.parquet.
# Google's own bucket, gs://alphaearth_foundations (provider pays since July 2026), and the mirror
# of the product tge-labs/aef on Source Cooperative.
ALPHAEARTH = {
    "source.coop": "https://data.source.coop/tge-labs/aef/v1/annual",
    "google": (
        "https://storage.googleapis.com/alphaearth_foundations/satellite_embedding/v1/annual"
    ),
}
