/* A bridge's stp_state while its mst_enabled is turned on and off. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

/* IFLA_BR_MULTI_BOOLOPT and BR_BOOLOPT_MST_ENABLE of newer headers */
#define MULTI_BOOLOPT 46
#define MST_ENABLE 2

static void show(const char *when)
{
	char text[64] = "";
	int fd = open("/sys/class/net/br0/bridge/stp_state", O_RDONLY);

	if (read(fd, text, sizeof(text) - 1) < 0)
		perror("stp_state");
	close(fd);
	printf("%s: %s", when, text);
}

static void turn(int on)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr info;
		struct rtattr kind;
		char name[8];
		struct rtattr data;
		struct rtattr multi;
		unsigned int value, mask;
	} request = {
		.header = { sizeof(request), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK },
		.link = { .ifi_family = AF_UNSPEC, .ifi_index = if_nametoindex("br0") },
		.info = { sizeof(request) - 32, IFLA_LINKINFO },
		.kind = { 4 + 7, IFLA_INFO_KIND },
		.name = "bridge",
		.data = { 16, IFLA_INFO_DATA },
		.multi = { 12, MULTI_BOOLOPT },
		.value = on << MST_ENABLE,
		.mask = 1 << MST_ENABLE,
	};
	struct { struct nlmsghdr header; struct nlmsgerr error; char rest[512]; } answer;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	send(fd, &request, sizeof(request), 0);
	if (recv(fd, &answer, sizeof(answer), 0) < 0 || answer.error.error)
		printf("mst_enabled %d: %s\n", on, strerror(-answer.error.error));
	close(fd);
}

int main(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (ioctl(fd, SIOCBRADDBR, "br0"))
		perror("br0");
	show("off");
	turn(1);
	show("on");
	turn(0);
	show("off again");
	ioctl(fd, SIOCBRDELBR, "br0");
	return 0;
}
