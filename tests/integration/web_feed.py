"""A feed of three items behind a real web server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FEED = "id\ttitle\tprice\tlink\tavailability\n" + "".join(
    f"sku-{number}\tKettle {number}\t{number}.50 EUR\thttps://shop.test/{number}\tin_stock\n" for number in range(1, 4)
)


@contextmanager
def served_feed() -> Iterator[str]:
    """Serve the feed; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("ETag", '"one"')
            self.send_header("Content-Type", "text/tab-separated-values")
            self.send_header("Content-Length", str(len(FEED)))
            self.end_headers()
            self.wfile.write(FEED.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/feed.tsv"
    server.shutdown()
    server.server_close()
    thread.join()
