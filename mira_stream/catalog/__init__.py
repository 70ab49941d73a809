"""The paper's twelve released students as data: what their public cards say, and null where they say nothing."""

from mira_stream.catalog.students import Catalog, CatalogSlot, CatalogSource, Serving, Student, find, load_catalog

__all__ = ["Catalog", "CatalogSlot", "CatalogSource", "Serving", "Student", "find", "load_catalog"]
