"""Pictures of radar fields and charts of scores (extra `pictures`)."""

from data_prep.pictures.pictures import (
    Panel,
    Strip,
    film_strip,
    forecast_gif,
    forecast_picture,
    line_chart,
    line_charts,
)

__all__ = ["Panel", "Strip", "film_strip", "forecast_gif", "forecast_picture", "line_chart", "line_charts"]
