/* tests/bench/verify.c - how many leaves a second holdfast-verify checks on one core: leaves as a busy server writes them, about 600 bytes each, all checks, the
 * tree included. Fails below 200,000. usage: verify [LEAVES] */
#include <stdlib.h>
#include <time.h>

#include "server/verify/verify.h"

#define LEAVES_DEFAULT 1000000
#define TARGET 200000
#define BATCH 1000
#define LINE_CAP 1024
#define KEYS 100
#define US_PER_S 1000000

/* Of this one thread: other work on the machine does not count. */
static int64_t cpu_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000;
}

/* Keys are made first, then used in turn. */
static int write_line(char *out, uint64_t seq)
{
	uint64_t us = seq * 400;
	int key = (int)(seq < 2 + 2 * KEYS ? (seq - 2) / 2 : seq % KEYS), n = 0;
	char key_text[160], ts[40];

	(void)snprintf(ts, sizeof(ts), "2026-11-21T%02d:%02d:%02d.%06dZ", (int)(us / 3600000000 % 24), (int)(us / 60000000 % 60), (int)(us / 1000000 % 60), (int)(us % 1000000));
	if (seq < 2)
		return snprintf(out, LINE_CAP, "{\"boot\":\"5f3a9c0e77d1b264\",\"det\":{\"origin\":\"kms.example.com/audit/log1\"},\"id\":\"a5c77cca-2bcc-44ab-a60b-%012d\","
		                "\"mono\":%d,\"node\":\"node-a\",\"phase\":\"single\",\"result\":\"ok\",\"salt\":\"K8mQBZRzRI5uvUQqoWv6oA\",\"seq\":%d,\"ts\":\"%s\",\"type\":\"%s\","
		                "\"v\":1}\n", (int)seq, (int)us, (int)seq, ts, seq == 0 ? "log.init" : "node.start");
	(void)snprintf(key_text, sizeof(key_text),
	               "\"key\":{\"name\":\"customer-key-%02d\",\"obj\":\"AAAAAAAAAAAAAAAAAAA%c%cA\",\"ver\":\"6d1e0c9b8a7f4e3d2c1b0a9f8e7d%04d\"}", key, "ABCDEFGHIJ"[key / 10], "ABCDEFGHIJ"[key % 10], key);
	n = snprintf(out, LINE_CAP, "{\"actor\":{\"auth\":\"jwt\",\"kind\":\"app\",\"pid\":\"K9gGyX8OAK8aH8Myj6djqQ\"},%s\"boot\":\"5f3a9c0e77d1b264\","
	             "\"corr\":\"8d0f6f0e-2f6b-4a55-9b0b-1f6e0c5a7e11\",%s\"id\":\"%08x-0ece-8a79-aeb7-1b5ba0b636c2\",%s,\"mono\":%llu,"
	             "\"net\":{\"peer\":\"192.0.2.0/24\",\"tls\":\"TLS1.3\"},\"node\":\"node-a\",", seq < 2 + 2 * KEYS ? "" : "\"alg\":\"A256KW\",",
	             (seq & 1) == 0 && seq < 2 + 2 * KEYS ? "" : "\"http\":200,", (unsigned)seq, key_text, (unsigned long long)us);
	if (seq < 2 + 2 * KEYS)
		n += snprintf(out + n, LINE_CAP - (size_t)n, "\"phase\":\"%s\",%s", (seq & 1) == 0 ? "intent" : "outcome", (seq & 1) == 0 ? "" : "\"ref\":");
	else
		n += snprintf(out + n, LINE_CAP - (size_t)n, "\"phase\":\"single\",");
	if (seq < 2 + 2 * KEYS && (seq & 1) != 0)
		n += snprintf(out + n, LINE_CAP - (size_t)n, "%d,", (int)seq - 1);
	n += snprintf(out + n, LINE_CAP - (size_t)n, "\"req\":\"5d6f0c1e-77aa-4d55-9b0b-%012u\",\"result\":\"%s\",\"salt\":\"UeDtXAAPMgWoi8qUmLOZIg\",\"seq\":%llu,"
	              "\"tenant\":\"0d7c6f56-3f5e-4d0b-8a6d-1f2e3d4c5b6a\",\"ts\":\"%s\",\"type\":\"%s\",\"v\":1}\n", (unsigned)seq,
	              seq < 2 + 2 * KEYS && (seq & 1) == 0 ? "pending" : "ok", (unsigned long long)seq, ts, seq < 2 + 2 * KEYS ? "key.create" : "key.unwrap");
	return n;
}

int main(int argc, char **argv)
{
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : LEAVES_DEFAULT, bytes = 0;
	struct verify *v = verify_open(&(struct verify_options){ .approvers = 1 });
	char *text = malloc((size_t)BATCH * LINE_CAP);
	int64_t spent_us = 0;

	if (v == NULL || text == NULL || count < BATCH || verify_begin(v) != NULL)
		return EXIT_FAILURE;
	for (uint64_t seq = 0; seq < count;) {
		size_t len = 0;
		for (int i = 0; i < BATCH && seq < count; i++, seq++)
			len += (size_t)write_line(text + len, seq);
		int64_t begun_us = cpu_us();
		if (verify_feed(v, "log", text, len) != NULL)
			return EXIT_FAILURE;
		spent_us += cpu_us() - begun_us;
		bytes += len;
	}
	(void)verify_end_file(v, "log");
	(void)verify_finish(v);
	if (report_findings(&v->report) != 1 || v->report.count[F_UNCOVERED] != 1) { /* nothing was signed; all else must be right */
		report_print(&v->report, stderr);
		return EXIT_FAILURE;
	}
	uint64_t per_s = count * US_PER_S / (uint64_t)(spent_us > 0 ? spent_us : 1);
	(void)printf("{\"leaves\":%llu,\"bytes_each\":%llu,\"leaves_per_s\":%llu,\"target\":%d}\n", (unsigned long long)count, (unsigned long long)(bytes / count),
	             (unsigned long long)per_s, TARGET);
	verify_close(v);
	free(text);
	return per_s >= TARGET ? EXIT_SUCCESS : EXIT_FAILURE;
}
