"""productagg: a product aggregator. `app` is the composition root of the web service, `cli` the command line."""

import warnings

# Cornice 6.1 imports pkg_resources, which warns that setuptools 82 drops it; setup.cfg holds setuptools below that.
warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
