/* This file contains the program at tc ingress of tbvxlan, where packets come out of the tunnels. */
#include "arrival.h"
#include "packet.h"
#include "tunnel.h"
#include "verdict.h"

/* A node speaks for its own segments and for itself. */
static __always_inline bool belongs_to(const struct address *source, __be32 endpoint)
{
	struct tunnel *tunnel = find_tunnel(source);
	return tunnel && tunnel->endpoint && tunnel->endpoint == endpoint;
}

SEC("tc/ingress")
int tb_vxlan_in(struct __sk_buff *skb)
{
	struct packet packet = {};
	/* Without the whole IP header there are no addresses, and so no node that may have sent it. */
	int parsed = parse(skb, &packet);
	if (parsed == NOT_IP || !belongs_to(&packet.source, sender_of(skb)))
		return drop(REASON_unknown_tunnel);
	if (parsed == TRUNCATED || !is_for_router(skb, &packet))
		return PASS;
	return arrive(skb, &packet, false);
}

char _license[] SEC("license") = "GPL";
