"""Servers and clients that use the same tuples again and again, and tell whether anybody got another's packets.

serve ADDRESS...        answers on every "address port", TCP and UDP; a request is "<way of closing><nonce>\n"
ask JSON                asks for some seconds from several processes; prints what went wrong, by kind, as JSON
part FROM TO ADDRESS PORT SERVER_PORT COUNT
                        connects from one namespace to the other, and has both ends close at the same moment, each on a
                        processor of its own
"""

import collections, ctypes, errno, json, mmap, os, random, select, socket, struct, sys, time

PATIENCE = 6.0  # seconds until an answer counts as lost
LATE = 0.9      # seconds: a packet had to be repeated
RESET = struct.pack('ii', 1, 0)  # of SO_LINGER


def family_of(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


# --- the server ------------------------------------------------------------------------------------------------------


def serve(endpoints):
    poll, readers = select.epoll(), {}
    for endpoint in endpoints:
        address, port = endpoint.split()
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            own = socket.socket(family_of(address), kind)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            if family_of(address) == socket.AF_INET6:
                own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            own.bind((address, int(port)))
            own.setblocking(False)
            if kind == socket.SOCK_STREAM:
                own.listen(4096)
            poll.register(own, select.EPOLLIN)
            readers[own.fileno()] = own
    print('ready', flush=True)
    connections = {}
    while True:
        for number, _ in poll.poll():
            if number in connections:
                hear(poll, connections, number)
            elif readers[number].type == socket.SOCK_DGRAM:
                answer_datagrams(readers[number])
            else:
                accept(poll, connections, readers[number])


def accept(poll, connections, listener):
    while True:
        try:
            connection, peer = listener.accept()
        except BlockingIOError:
            return
        except OSError:
            continue
        connection.setblocking(False)
        connections[connection.fileno()] = [connection, peer, b'']
        poll.register(connection, select.EPOLLIN)


def answer_datagrams(own):
    for _ in range(64):
        try:
            request, peer = own.recvfrom(100)
            own.sendto(b'%s %s %d' % (request, peer[0].encode(), peer[1]), peer)
        except BlockingIOError:
            return
        except OSError:
            continue


def hear(poll, connections, number):
    connection, peer, before = connections[number]
    try:
        data = connection.recv(1000)
        heard = before + data
        ends = heard[:1]
        if heard.endswith(b'\n') and (ends != b'h' or not data):
            connection.send(b'%s %s %d\n' % (heard[:-1], peer[0].encode(), peer[1]))
            heard = b''
            if ends == b'R':
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connections[number][2] = heard
        if data and not (heard == b'' and ends in b'sbR'):
            return
    except BlockingIOError:
        return
    except OSError:
        pass
    del connections[number]
    poll.unregister(connection)
    connection.close()


# --- clients ---------------------------------------------------------------------------------------------------------

WAYS = {
    'client': b'c', 'server': b's', 'both': b'b', 'client resets': b'r', 'server resets': b'R', 'half': b'h',
    'abandoned': b'a', 'kept': b'k',
}


class Asker:
    def __init__(self, wishes, worker):
        self.wishes, self.worker = wishes, worker
        self.count, self.seen = 0, collections.Counter()
        self.examples = {}
        self.kept = []

    def nonce(self):
        self.count += 1
        return b'%d.%d' % (self.worker, self.count)

    def note(self, what, target, detail=''):
        key = f'{what}: {target["name"]}'
        self.seen[key] += 1
        self.examples.setdefault(key, []).append(f'{time.time() % 1000:.3f} {detail}')

    def check(self, answer, sent, target, way):
        nonce, peer, _ = (answer.decode().split() + ['', '', ''])[:3]
        if nonce != sent.decode():
            self.note('wrong answer', target, f'{way} sent {sent} got {answer}')
        elif peer not in target['clients']:
            self.note('wrong client', target, f'{way} {answer}')
        else:
            self.seen['answers'] += 1

    def connect(self, target, way):
        own = socket.socket(family_of(target['host']), socket.SOCK_STREAM)
        own.settimeout(PATIENCE)
        began = time.monotonic()
        if way == 'abandoned':
            own.setblocking(False)
            own.connect_ex((target['host'], target['port']))
            self.seen['abandoned'] += 1
            own.close()
            return None
        try:
            own.connect((target['host'], target['port']))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                self.seen['no port'] += 1
                time.sleep(0.01)
            else:
                self.note('no connection', target, f'{way} {error}')
            own.close()
            return None
        took = time.monotonic() - began
        if took > LATE:
            self.note('late', target, f'{way} {took:.2f} s from {own.getsockname()[1]}')
        peer = own.getpeername()
        if peer[:2] != (target['host'], target['port']):
            self.note('wrong peer', target, f'{way} {peer}')
        return own

    def ask(self, own, target, way):
        sent = WAYS[way] + self.nonce()
        port = None
        try:
            port = own.getsockname()[1]
            own.sendall(sent + b'\n')
            if way == 'half':
                own.shutdown(socket.SHUT_WR)
            answer = b''
            while not answer.endswith(b'\n'):
                data = own.recv(1000)
                if not data:
                    self.note('no answer', target, f'{way} from {port}: end after {answer}')
                    return False
                answer += data
        except OSError as error:
            self.note('no answer', target, f'{way} from {port}: {error}')
            return False
        self.check(answer[:-1], sent, target, way)
        return True

    def close(self, own, target, way):
        try:
            if way in ('server', 'half'):
                if own.recv(1) != b'':
                    self.note('surplus', target, way)
            elif way == 'server resets':
                own.recv(1)
            elif way == 'client resets':
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        except OSError as error:
            if error.errno != errno.ECONNRESET or way != 'server resets':
                self.note('bad end', target, f'{way} {error}')
        own.close()

    def tcp(self, target):
        way = random.choice(self.wishes['ways'])
        own = self.connect(target, way)
        if own is None:
            return
        if way == 'kept':
            self.kept.append((own, target))
            if len(self.kept) > self.wishes.get('kept', 4):
                own, target = self.kept.pop(random.randrange(len(self.kept)))
                if self.ask(own, target, 'kept'):
                    own.close()
        elif self.ask(own, target, way):
            self.close(own, target, way)
        if self.kept and random.random() < 0.3:
            index = random.randrange(len(self.kept))
            if not self.ask(*self.kept[index], 'kept'):
                self.kept.pop(index)[0].close()

    def udp(self, targets):
        """One socket, connected to one of them or asking all of them by turns."""
        connected = random.random() < 0.5
        own = socket.socket(family_of(targets[0]['host']), socket.SOCK_DGRAM)
        own.settimeout(2)
        try:
            if connected:
                targets = [random.choice(targets)]
                own.connect((targets[0]['host'], targets[0]['port']))
            for turn in range(random.choice((1, 1, 2, 6))):
                target = targets[turn % len(targets)]
                sent = b'u' + self.nonce()
                if connected:
                    own.send(sent)
                else:
                    own.sendto(sent, (target['host'], target['port']))
                # What a late answer to somebody else's question says is nobody's fault: its own has to come all the same.
                for _ in range(100):
                    answer, peer = own.recvfrom(1000)
                    if answer.startswith(sent + b' '):
                        break
                    self.seen['strays'] += 1
                if peer[:2] != (target['host'], target['port']):
                    self.note('wrong peer', target, f'{"connected" if connected else "unconnected"} {peer} {turn}')
                self.check(answer, sent, target, 'udp')
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL or error.errno == errno.EAGAIN:
                self.seen['no port'] += 1
                time.sleep(0.01)
            else:
                self.note('no answer', target, f'udp {error} connected {connected} turn {turn} from {own.getsockname()[1]}')
        finally:
            own.close()

    def run(self):
        random.seed(self.worker)
        until = time.monotonic() + self.wishes['seconds']
        streams = [target for target in self.wishes['targets'] if target['protocol'] == 'TCP']
        datagrams = [target for target in self.wishes['targets'] if target['protocol'] == 'UDP']
        pause = self.wishes.get('pause', 0)
        while time.monotonic() < until:
            if streams:
                self.tcp(random.choice(streams))
            if datagrams:
                family = random.choice((4, 6))
                mine = [each for each in datagrams if (':' in each['host']) == (family == 6)] or datagrams
                random.shuffle(mine)
                self.udp(mine)
            if pause:
                time.sleep(pause)
        for own, target in self.kept:
            self.ask(own, target, 'kept')
        return {'seen': self.seen, 'examples': {key: texts[:5] for key, texts in self.examples.items()}}


def ask(wishes):
    pipes = []
    for worker in range(wishes['workers']):
        here, there = os.pipe()
        if os.fork() == 0:
            os.close(here)
            os.write(there, json.dumps(Asker(wishes, wishes.get('first', 0) + worker).run()).encode())
            os._exit(0)
        os.close(there)
        pipes.append(here)
    seen, examples = collections.Counter(), {}
    for pipe in pipes:
        with os.fdopen(pipe, 'rb') as stream:
            said = json.loads(stream.read())
        seen.update(said['seen'])
        for key, texts in said['examples'].items():
            examples.setdefault(key, []).extend(texts)
    print(json.dumps({'seen': seen, 'examples': {key: texts[:8] for key, texts in examples.items()}}), flush=True)


# --- both ends close at once -------------------------------------------------------------------------------------------


def part(client, server, address, port, server_port, count):
    turns = memoryview(mmap.mmap(-1, 4096)).cast('Q')
    for side, namespace in enumerate((client, server)):
        if os.fork():
            continue
        with open(namespace) as file:
            if ctypes.CDLL(None).setns(file.fileno(), 0):
                os._exit(1)
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[side]})
        if side == 1:
            listener = socket.socket(family_of(address), socket.SOCK_STREAM)
            listener.bind(('', server_port))
            listener.listen()
            turns[1] = 1
        while not turns[1]:
            time.sleep(0.01)
        for turn in range(2, count + 2):
            own = listener.accept()[0] if side == 1 else socket.create_connection((address, port))
            if side == 1:
                own.send(b'x')
            else:
                own.recv(1)
            turns[side] = turn
            while turns[1 - side] < turn:
                pass
            own.close()
        os._exit(0)
    results = [os.wait()[1] for _ in range(2)]
    print('parted' if results == [0, 0] else results)


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        serve(sys.argv[2:])
    elif sys.argv[1] == 'part':
        part(sys.argv[2], sys.argv[3], sys.argv[4], *map(int, sys.argv[5:]))
    else:
        ask(json.loads(sys.argv[2]))
