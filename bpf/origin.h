/* This file contains the check of what comes from the network itself: nobody there speaks with the address of a pod of this
 * node, or of one whose packets come through a tunnel. What comes out of tunnels is checked there. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "packet.h"
#include "pods.h"
#include "services.h"
#include "subprogram.h"
#include "this_node.h"
#include "tunnel.h"

/* Nodes themselves speak by the network in any case, and through tunnels with pods alone. Where there are no tunnels nobody
 * pays for a look-up by prefix. */
SUBPROGRAM bool has_wrong_origin(const struct packet *packet GIVEN, const struct node *node GIVEN)
{
	if (find_pod(&packet->source) || is_own_address(node, &packet->source))
		return true;
	if (!node->vxlan)
		return false;
	struct tunnel *tunnel = find_tunnel(&packet->source);
	return tunnel && tunnel->endpoint && tunnel->flags & TUNNEL_OF_PODS;
}

/* Announced, but no service's; or a service's inside the cluster, and not announced. By the default route it would go back to
 * where it has come from. */
SUBPROGRAM bool is_nobodys_service(const struct packet *packet GIVEN)
{
	struct service *inside = service_address(&packet->destination);
	if (inside && !(inside->flags & SERVICE_SHARED_ADDRESS))
		return true;
	struct tunnel *range = find_tunnel(&packet->destination);
	return range && range->flags & TUNNEL_OF_SERVICES;
}
