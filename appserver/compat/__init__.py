"""The modules ``uwsgi`` and ``uwsgidecorators``, as far as they can be meant here."""
