/* This file contains the first program at tc ingress of tbvxlan, where there are services that nodes hand over to each other. It
 * is a program of its own since the verifier looks at each by itself, and since most tunnelled packets are none of its. */
#include "packet.h"
#include "takeover.h"
#include "tunnel.h"
#include "verdict.h"

SEC("tc/ingress")
int tb_takeover(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (parse(skb, &packet) != PARSED || !is_handed_over(&packet))
		return PASS;
	__be32 sender = sender_of(skb);
	if (!sender || !is_for_router(skb, &packet))
		return drop(REASON_unknown_tunnel);
	int verdict = take_over(skb, &packet, sender);
	/* To the stack, and not to the next program: it would not know the source. The device is ours alone. */
	return verdict == PASS ? TC_ACT_OK : verdict;
}

char _license[] SEC("license") = "GPL";
