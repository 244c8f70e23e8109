"""The dashboards of Grafana: what they show, and the parts that they are made of."""
