"""Pictures of radar fields and charts of scores (extra `pictures`)."""

from data_prep.pictures.axes import Axis
from data_prep.pictures.charts import Chart, Panel, chart_svgs, line_chart, line_charts, write_chart
from data_prep.pictures.film import mp4_film
from data_prep.pictures.gif import endless_gif
from data_prep.pictures.pictures import Strip, film_pages, film_strip, forecast_gif, forecast_picture
from data_prep.pictures.where import domain_map

__all__ = [
    "Axis",
    "Chart",
    "Panel",
    "Strip",
    "chart_svgs",
    "domain_map",
    "endless_gif",
    "film_pages",
    "film_strip",
    "forecast_gif",
    "forecast_picture",
    "line_chart",
    "line_charts",
    "mp4_film",
    "write_chart",
]
