"""TLS of both ports: one certificate, which is replaced while the service runs.

files.py         which files, and their contents
certificates.py  what is wrong with them, in words
connections.py   connections over HTTP: why a handshake failed, and what the client is told
server_tls.py    what both servers use now; looks at the files every few seconds
metrics.py       expiry, reloads, failed handshakes
"""
