"""Radar fields by the CF conventions, whatever library opens the file: what the formats netcdf and zarr share.

dataset.py   what is seen of an open file         times.py    times, calendars, bounds
fields.py    which variables are radar fields     places.py   coordinates and grid mapping -> Grid
units.py     units of rain and reflectivity       values.py   packed, missing, undetected numbers
reader.py    the reader
"""
