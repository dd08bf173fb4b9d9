"""Services that load bundles: copy one from here."""
