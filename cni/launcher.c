/*
 * The CNI plugin's front door. It hands the call to the agent's socket and prints the agent's answer; whenever
 * there is no complete answer it becomes the bundle beside it (tombolo.cjs), which does every verb itself.
 *
 * Why C: Node needs 20 ms to start, the whole call takes 3 ms this way. So nothing is decided here. Whatever is
 * not plain (a variable no HTTP header can carry, JSON with an escape in it) is the bundle's to understand.
 *
 * The protocol: POST /cni/<CNI_COMMAND>, one header per CNI_* variable, the configuration as body. Status 200
 * carries the result, 500 a CNI error; the body is printed as it is. HTTP/1.0 keeps chunked encoding out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/tombolo/agent.sock"

/* Seconds for the whole exchange. The kubelet gives a verb 120 s: half for the agent, half for the bundle. */
#ifndef ANSWER_SECONDS
#define ANSWER_SECONDS 60
#endif

/* Bytes. Node's HTTP server refuses more headers than this. */
#define HEAD_MAX 16384

/* Bytes. A result has some hundreds; what sends a megabyte is not the agent. */
#define ANSWER_MAX (1 << 20)

extern char **environ;

/* The agent serves these; VERSION and anything unknown never touch standard input. */
static bool is_served(const char *verb)
{
	static const char *const served[] = { "ADD", "DEL", "CHECK", "GC", "STATUS" };

	for (size_t i = 0; verb && i < sizeof(served) / sizeof(*served); i++)
		if (!strcmp(verb, served[i]))
			return true;
	return false;
}

/* Keeps standard input in memory, where it can be sent, and read once more by the bundle. */
static struct iovec keep_input(void)
{
	int fd = memfd_create("input", MFD_CLOEXEC);
	struct iovec input = { 0 };
	char chunk[65536];
	ssize_t n;

	while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0) {
		if (write(fd, chunk, n) != n)
			return input;
		input.iov_len += n;
	}
	if (n < 0 || dup2(fd, STDIN_FILENO) < 0 || lseek(STDIN_FILENO, 0, SEEK_SET) < 0)
		return input;
	void *text = mmap(NULL, input.iov_len, PROT_READ, MAP_PRIVATE, fd, 0);
	input.iov_base = text == MAP_FAILED ? NULL : text;
	return input;
}

/* The value of "agentSocket", found without understanding JSON: hence plain and once, or not at all. */
static bool find_socket(struct iovec input, struct sockaddr_un *address)
{
	static const char key[] = "\"agentSocket\"";
	const char *text = input.iov_base, *end = text + input.iov_len;
	const char *at = memmem(text, input.iov_len, key, sizeof(key) - 1);

	address->sun_family = AF_UNIX;
	if (memchr(text, '\\', input.iov_len))
		return false;
	if (!at) {
		strcpy(address->sun_path, DEFAULT_SOCKET);
		return true;
	}
	at += sizeof(key) - 1;
	if (memmem(at, end - at, key, sizeof(key) - 1))
		return false;
	while (at < end && strchr(" \t\r\n:", *at))
		at++;
	const char *close = at < end && *at == '"' ? memchr(at + 1, '"', end - at - 1) : NULL;
	if (!close || at[1] != '/' || (size_t)(close - at) > sizeof(address->sun_path))
		return false;
	memcpy(address->sun_path, at + 1, close - at - 1);
	return true;
}

/* Whether HTTP carries the value unchanged: no control characters, no blanks that a parser would trim. */
static bool is_plain(const char *value)
{
	size_t length = strlen(value);

	for (size_t i = 0; i < length; i++)
		if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
			return false;
	return !length || (value[0] != ' ' && value[length - 1] != ' ');
}

/* The request up to its body; nothing if HTTP cannot say it. */
static struct iovec write_head(const char *verb, size_t body)
{
	static char head[HEAD_MAX];
	size_t used = snprintf(head, HEAD_MAX, "POST /cni/%s HTTP/1.0\r\nContent-Length: %zu\r\n", verb, body);

	for (char **variable = environ; *variable; variable++) {
		const char *equals = strchr(*variable, '=');
		if (strncmp(*variable, "CNI_", 4) || !equals)
			continue;
		int name = equals - *variable;
		if (strspn(*variable, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") != (size_t)name || !is_plain(equals + 1))
			return (struct iovec){ 0 };
		used += snprintf(head + used, HEAD_MAX - used, "%.*s: %s\r\n", name, *variable, equals + 1);
		if (used >= HEAD_MAX - 2)
			return (struct iovec){ 0 };
	}
	memcpy(head + used, "\r\n", 2);
	return (struct iovec){ head, used + 2 };
}

/* The body of a complete answer; NULL as long as it is not complete, and for ever if it is not ours. */
static const char *complete_body(const char *answer, size_t length, int *status, size_t *body_length)
{
	const char *blank = memmem(answer, length, "\r\n\r\n", 4);
	const char *field = strcasestr(answer, "\r\nContent-Length:");

	if (!blank || !field || field > blank || sscanf(answer, "HTTP/1.%*1d %d ", status) != 1)
		return NULL;
	*body_length = strtoul(field + strlen("\r\nContent-Length:"), NULL, 10);
	if ((*status != 200 && *status != 500) || *body_length != length - (blank + 4 - answer))
		return NULL;
	return blank + 4;
}

/* Asks the agent; returns the exit code, or -1 if there is no complete answer. */
static int ask_agent(const struct sockaddr_un *address, struct iovec head, struct iovec input)
{
	static char answer[ANSWER_MAX + 1];
	size_t length = 0, body_length;
	const char *body;
	struct iovec parts[] = { head, input };
	struct msghdr request = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t n;
	int status;

	/* In one piece, that the agent is woken once. A send that blocks sends all, unless the time is up. */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    sendmsg(fd, &request, MSG_NOSIGNAL) != (ssize_t)(head.iov_len + input.iov_len))
		return -1;
	while (!(body = complete_body(answer, length, &status, &body_length))) {
		n = recv(fd, answer + length, ANSWER_MAX - length, 0);
		if (n <= 0)
			return -1;
		length += n;
	}
	if (status == 500 && body_length == 0)
		return -1;
	while (body_length > 0 && (n = write(STDOUT_FILENO, body, body_length)) > 0) {
		body += n;
		body_length -= n;
	}
	return status == 200 && body_length == 0 ? 0 : 1;
}

static void time_is_up(int signal)
{
	(void)signal;
}

/* From now on a blocking call fails with EINTR when the time is up; every second again, should one slip through. */
static void set_deadline(int seconds)
{
	struct sigaction action = { .sa_handler = time_is_up };
	struct itimerval timer = { .it_value.tv_sec = seconds, .it_interval.tv_sec = seconds ? 1 : 0 };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static int try_agent(const char *verb)
{
	struct sockaddr_un address = { 0 };
	struct iovec input = keep_input();

	if (!input.iov_base || !find_socket(input, &address))
		return -1;
	struct iovec head = write_head(verb, input.iov_len);
	if (!head.iov_base)
		return -1;
	/* The bundle would ask the same agent once more, and wait as long. */
	setenv("TOMBOLO_AGENT", "silent", 1);
	set_deadline(ANSWER_SECONDS);
	int code = ask_agent(&address, head, input);
	set_deadline(0);
	return code;
}

int main(void)
{
	const char *verb = getenv("CNI_COMMAND");
	char self[PATH_MAX] = "", bundle[PATH_MAX + 16];

	unsetenv("TOMBOLO_AGENT");
	int code = is_served(verb) ? try_agent(verb) : -1;
	if (code >= 0)
		return code;

	/* Node would read the first and obey the second before the bundle's first line. */
	unsetenv("NODE_EXTRA_CA_CERTS");
	unsetenv("NODE_OPTIONS");
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
		snprintf(bundle, sizeof(bundle), "%s/tombolo.cjs", dirname(self));
		execv(bundle, (char *[]){ bundle, NULL });
	}
	printf("{\"cniVersion\":\"1.1.0\",\"code\":11,\"msg\":\"Cannot run the plugin: no agent answers and "
	       "tombolo.cjs does not start beside the launcher (%s)\"}\n", strerror(errno));
	return 1;
}
