"""TLS of both ports: one certificate, which is replaced while the service runs.

files.py         which files, and their contents
certificates.py  checks them, and says what is wrong with them
connections.py   connections over HTTP: why a handshake failed, and what the client gets to know
server_tls.py    the certificate that both servers use now; checks every few seconds whether the files have changed
metrics.py       expiry, reloads, failed handshakes
"""
