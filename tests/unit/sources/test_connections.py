"""Connections: kept from one exchange to the next, one per thread, given up when something went wrong with them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from productagg.sources.offers_service.errors import Unavailable
from tests.scripted_server import CERTIFICATE, always, answer, price, priced


class TestReuse:
    @pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
    def test_a_thread_needs_one_connection_for_all_its_exchanges(self, serve, connect, monkeypatch, tls):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        server = serve(lambda request: [answer(b"[]", "200 OK" if request.method == "GET" else "201 Created")], tls=tls)
        client = connect(server.base_url)

        for _ in range(5):
            client.register("a-token", uuid4(), "Kettle", "Boils water")
            client.offers("a-token", uuid4())

        assert len(server.requests) == 10
        assert server.connections == 1

    @pytest.mark.parametrize("status", [401, 404, 409, 422, 500])
    def test_an_answer_that_is_an_error_does_not_end_the_connection(self, serve, connect, status):
        statuses = iter([f"{status} No", "200 OK"])
        server = serve(lambda _: [answer(b"[]", next(statuses))])
        client = connect(server.base_url)

        with pytest.raises(Exception, match="Offers service"):
            client.offers("a-token", uuid4())
        client.offers("a-token", uuid4())

        assert server.connections == 1

    def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced(self, serve, connect):
        server = serve(always(answer(), None))
        client = connect(server.base_url)
        client.offers("a-token", uuid4())
        assert server.wait_until(lambda server: server.open == 0)

        assert client.offers("a-token", uuid4()) == {}

        assert server.connections == 2

    def test_a_certificate_for_another_name_is_not_accepted(self, serve, connect, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        server = serve(always(answer()), tls=True)

        with pytest.raises(Unavailable, match="certificate"):
            connect(server.base_url.replace("localhost", "127.0.0.1")).offers("a-token", uuid4())

        assert server.requests == []

    def test_a_certificate_that_nobody_vouches_for_is_not_accepted(self, serve, connect):
        server = serve(always(answer()), tls=True)

        with pytest.raises(Unavailable, match="certificate"):
            connect(server.base_url).offers("a-token", uuid4())

        assert server.requests == []


class TestAfterAFailure:
    def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(self, serve, connect):
        answers = iter([[0.6, priced(1)], [priced(2)]])
        client = connect(serve(lambda _: next(answers)).base_url, 0.3)

        with pytest.raises(Unavailable, match="within"):
            client.offers("a-token", uuid4())

        assert price(client.offers("a-token", uuid4())) == 2

    @pytest.mark.parametrize("margin", [-0.02, -0.005, 0.0, 0.005, 0.02])
    def test_an_exchange_that_ends_as_its_time_runs_out_does_not_spoil_the_next_one(self, serve, connect, margin):
        slow = True
        server = serve(lambda _: [0.2 + margin, priced(1)] if slow else [priced(2)])
        client = connect(server.base_url, 0.2)

        for _ in range(2):
            slow = True
            try:
                assert price(client.offers("a-token", uuid4())) == 1
            except Unavailable as error:
                assert "within" in str(error)
            slow = False
            assert price(client.offers("a-token", uuid4())) == 2

    @pytest.mark.parametrize(
        "pieces", [[b"garbage\r\n\r\n"], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]", None]]
    )
    def test_a_connection_on_which_something_went_wrong_is_closed(self, serve, connect, pieces):
        server = serve(always(*pieces))
        client = connect(server.base_url)

        with pytest.raises(Unavailable):
            client.offers("a-token", uuid4())

        assert server.wait_until(lambda server: server.open == 0)


class TestThreads:
    def test_each_has_a_connection_of_its_own_and_gets_its_own_answers(self, serve, connect):
        server = serve(lambda request: [priced(int(request.target.split("/")[-2].rsplit("-", 1)[1], 16))])
        client = connect(server.base_url)
        together = threading.Barrier(8)

        def ask(number):
            together.wait(5)
            products = [uuid4() for _ in range(20)]
            return all(
                price(client.offers("a-token", product_id)) == product_id.int & (1 << 48) - 1 for product_id in products
            )

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(8)))

        assert len(server.requests) == 160
        assert server.connections == 8

    def test_one_that_runs_out_of_time_takes_none_from_the_others(self, serve, connect):
        slow, fast = uuid4(), uuid4()
        server = serve(lambda request: [60.0] if str(slow) in request.target else [priced(2)])
        client = connect(server.base_url, 0.5)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.offers, "a-token", slow)
            while not waiting.done():
                assert price(client.offers("a-token", fast)) == 2

        with pytest.raises(Unavailable, match="within"):
            waiting.result()

    def test_one_that_ended_leaves_no_connection_behind(self, serve, connect):
        server = serve(always(answer()))
        client = connect(server.base_url)

        thread = threading.Thread(target=client.offers, args=["a-token", uuid4()])
        thread.start()
        thread.join()

        assert server.wait_until(lambda server: server.connections == 1 and server.open == 0)

    def test_closing_the_client_closes_the_connections_of_all_of_them(self, serve, connect):
        server = serve(always(answer()))
        client = connect(server.base_url)
        asked, closed = threading.Barrier(4), threading.Event()

        def ask():
            client.offers("a-token", uuid4())
            asked.wait(5)
            closed.wait(5)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        asked.wait(5)
        assert server.open == 3

        client.close()

        assert server.wait_until(lambda server: server.open == 0)
        closed.set()
        for thread in threads:
            thread.join()

    def test_a_client_has_none_of_its_own(self, connect, serve):
        client = connect(serve(always(answer())).base_url)
        client.offers("a-token", uuid4())
        before = threading.active_count()

        client.offers("a-token", uuid4())
        client.close()

        assert threading.active_count() <= before
