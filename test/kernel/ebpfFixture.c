// The smallest programs that use what src/ebpf offers; test/kernel/ebpf.test.ts compiles and loads them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

struct key {
	__u32 number;
	__u16 port;
	__u16 zero;
};

struct value {
	__u64 packets;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct key);
	__type(value, struct value);
} tbt_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} tbt_percpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} tbt_ring SEC(".maps");

const volatile __u32 mark = 1;
const volatile __u64 limit = 0;

struct config {
	__u32 unused;
	__u8 flag;
};

const volatile struct config config SEC(".rodata.config") = { .unused = 1 };

SEC("tc")
int tbt_mark(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u32 *count = bpf_map_lookup_elem(&tbt_percpu, &zero);
	struct key key = { .number = mark, .port = bpf_htons(80) };
	struct value *value = bpf_map_lookup_elem(&tbt_hash, &key);
	__u64 *event;

	if (count)
		*count += 1;
	if (value)
		__sync_fetch_and_add(&value->packets, 1);
	event = bpf_ringbuf_reserve(&tbt_ring, sizeof(*event), 0);
	if (event) {
		*event = limit;
		bpf_ringbuf_submit(event, 0);
	}
	skb->mark = mark + config.flag;
	return 7;
}

SEC("cgroup/connect4")
int tbt_connect4(struct bpf_sock_addr *address)
{
	address->user_port = bpf_htons(mark);
	return 1;
}

SEC("iter/bpf_map_elem")
int tbt_sweep(struct bpf_iter__bpf_map_elem *context)
{
	struct value *value = context->value;
	struct key *entry = context->key;
	struct key key;

	if (!entry || !value)
		return 0;
	key = *entry;
	if (value->packets == 0)
		bpf_map_delete_elem(&tbt_hash, &key);
	else
		bpf_seq_write(context->meta->seq, &key.number, sizeof(key.number));
	return 0;
}

#ifdef REFUSED
SEC("tc")
int tbt_refused(struct __sk_buff *skb)
{
	return *(volatile __u32 *)(long)skb->data;
}
#endif

#ifdef FUNCTIONS
#define FUNCTION __attribute__((noinline))

struct word {
	__u32 value;
};

/* As many states as the word has bits: whoever goes through it at each call goes through as many there. */
FUNCTION int tbt_bits(const struct word *word ARGUMENT)
{
	int bits = 0;
	for (int bit = 0; bit < 8; bit++)
		if (word->value & 1 << bit)
			bits += bit;
	return bits;
}

SEC("tc")
int tbt_calls(struct __sk_buff *skb)
{
	struct word words[] = { { skb->mark }, { skb->len }, { skb->priority } };
	return tbt_bits(&words[0]) + tbt_bits(&words[1]) + tbt_bits(&words[2]);
}
#endif

char _license[] SEC("license") = "GPL";
