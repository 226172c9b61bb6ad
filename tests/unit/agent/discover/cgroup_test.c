// Paths as the runtimes write them, by driver and cgroup version.
#include "agent/discover/cgroup.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID1        "3f2b8e0d4c5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define ID2        "aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999"
#define UID        "1b2c3d4e-5f60-4718-92a3-b4c5d6e7f809"
#define UID_SLICE  "1b2c3d4e_5f60_4718_92a3_b4c5d6e7f809"
#define STATIC_UID "0123456789abcdef0123456789abcdef"

static const struct {
    const char *file, *id, *pod;
    enum spy_runtime runtime;
} rows[] = {
    // Docker: v2 systemd, v2 cgroupfs, v1 with each driver, rootless, with a parent of one's own
    {"0::/system.slice/docker-" ID1 ".scope\n", ID1, "", SPY_RUNTIME_DOCKER},
    {"0::/docker/" ID1 "\n", ID1, "", SPY_RUNTIME_DOCKER},
    {"12:pids:/docker/" ID1 "\n11:cpu,cpuacct:/docker/" ID1 "\n1:name=systemd:/docker/" ID1
     "\n0::/system.slice/containerd.service\n",
     ID1, "", SPY_RUNTIME_DOCKER},
    {"4:memory:/system.slice/docker-" ID1 ".scope\n1:name=systemd:/system.slice/docker-" ID1
     ".scope\n",
     ID1, "", SPY_RUNTIME_DOCKER},
    {"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" ID1 ".scope\n", ID1, "",
     SPY_RUNTIME_DOCKER},
    {"0::/mine/" ID1 "\n", ID1, "", SPY_RUNTIME_UNKNOWN},
    {"9:devices:/ecs/0f1e2d3c4b5a/" ID1 "\n", ID1, "", SPY_RUNTIME_UNKNOWN},
    // a hybrid node: only some hierarchies say it
    {"9:name=systemd:/\n8:pids:/\n4:memory:/docker/" ID1 "\n0::/\n", ID1, "", SPY_RUNTIME_DOCKER},
    // systemd or another engine inside of the container: the outer one counts
    {"0::/docker/" ID1 "/init.scope\n", ID1, "", SPY_RUNTIME_DOCKER},
    {"0::/system.slice/docker-" ID1 ".scope/docker/" ID2 "\n", ID1, "", SPY_RUNTIME_DOCKER},
    // Kubernetes, containerd: systemd burstable, besteffort, guaranteed; cgroupfs
    {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_SLICE
     ".slice/cri-containerd-" ID1 ".scope\n",
     ID1, UID, SPY_RUNTIME_CONTAINERD},
    {"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_SLICE
     ".slice/cri-containerd-" ID1 ".scope\n",
     ID1, UID, SPY_RUNTIME_CONTAINERD},
    {"0::/kubepods.slice/kubepods-pod" UID_SLICE ".slice/cri-containerd-" ID1 ".scope\n", ID1, UID,
     SPY_RUNTIME_CONTAINERD},
    {"5:cpuset:/kubepods/burstable/pod" UID "/" ID1 "\n0::/\n", ID1, UID, SPY_RUNTIME_UNKNOWN},
    {"0::/kubepods/besteffort/pod" UID "/" ID1 "\n", ID1, UID, SPY_RUNTIME_UNKNOWN},
    {"0::/kubepods/pod" UID "/" ID1 "\n", ID1, UID, SPY_RUNTIME_UNKNOWN},
    {"0::/kubepods/burstable/pod" STATIC_UID "/" ID1 "\n", ID1, STATIC_UID, SPY_RUNTIME_UNKNOWN},
    {"0::/system.slice/containerd.service/kubepods-besteffort-pod" UID_SLICE
     ".slice:cri-containerd:" ID1 "\n",
     ID1, UID, SPY_RUNTIME_CONTAINERD},
    // the same node, cgroup v1 and v2 at once, read in a cgroup namespace of one's own
    {"9:name=systemd:/kubepods/besteffort/pod" UID "/" ID1 "\n4:memory:/../../kubepods/besteffort/"
     "pod" UID "/" ID1 "\n0::/kubepods/besteffort/pod" UID "/" ID1 "\n",
     ID1, UID, SPY_RUNTIME_UNKNOWN},
    {"4:memory:/../../kubepods/besteffort/pod" UID "/" ID1 "\n0::/\n", ID1, UID,
     SPY_RUNTIME_UNKNOWN},
    {"0::/../" ID1 "\n", ID1, "", SPY_RUNTIME_UNKNOWN}, // another container of the reader's pod
    {"0::/../../kubepods-burstable-pod" UID_SLICE ".slice/cri-containerd-" ID1 ".scope\n", ID1, UID,
     SPY_RUNTIME_CONTAINERD},
    // CRI-O, both drivers; its monitor is not the container
    {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_SLICE
     ".slice/crio-" ID1 ".scope\n",
     ID1, UID, SPY_RUNTIME_CRIO},
    {"0::/kubepods.slice/kubepods-pod" UID_SLICE ".slice/crio-" ID1 ".scope/container\n", ID1, UID,
     SPY_RUNTIME_CRIO},
    {"7:pids:/kubepods/burstable/pod" UID "/crio-" ID1 "\n", ID1, UID, SPY_RUNTIME_CRIO},
    {"0::/kubepods.slice/kubepods-pod" UID_SLICE ".slice/crio-conmon-" ID1 ".scope\n", "", UID,
     SPY_RUNTIME_NONE},
    // cri-dockerd
    {"1:name=systemd:/kubepods.slice/kubepods-pod" UID_SLICE ".slice/docker-" ID1 ".scope\n", ID1,
     UID, SPY_RUNTIME_DOCKER},
    // a node that is a container itself
    {"0::/docker/" ID2 "/kubelet/kubepods/besteffort/pod" UID "/" ID1 "\n", ID1, UID,
     SPY_RUNTIME_UNKNOWN},
    {"0::/system.slice/docker-" ID2
     ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
     "kubelet-kubepods-burstable-pod" UID_SLICE ".slice/cri-containerd-" ID1 ".scope\n",
     ID1, UID, SPY_RUNTIME_CONTAINERD},
    // as a reader in a cgroup namespace of its own sees others
    {"0::/../../../kubepods-burstable.slice/kubepods-burstable-pod" UID_SLICE
     ".slice/cri-containerd-" ID1 ".scope\n",
     ID1, UID, SPY_RUNTIME_CONTAINERD},
    {"0::/../../pod" UID "/" ID1 "\n", ID1, UID, SPY_RUNTIME_UNKNOWN},
    {"0::/../cri-containerd-" ID1 ".scope\n", ID1, "", SPY_RUNTIME_CONTAINERD},
    {"0::/../docker-" ID1 ".scope\n", ID1, "", SPY_RUNTIME_DOCKER},
    // Podman: rootful, rootless, split, cgroupfs, its monitor
    {"0::/machine.slice/libpod-" ID1 ".scope/container\n", ID1, "", SPY_RUNTIME_PODMAN},
    {"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID1 ".scope\n", ID1, "",
     SPY_RUNTIME_PODMAN},
    {"0::/system.slice/web.service/libpod-payload-" ID1 "\n", ID1, "", SPY_RUNTIME_PODMAN},
    {"3:pids:/libpod_parent/libpod-" ID1 "\n", ID1, "", SPY_RUNTIME_PODMAN},
    {"0::/machine.slice/libpod-conmon-" ID1 ".scope\n", "", "", SPY_RUNTIME_NONE},
    // nerdctl
    {"0::/system.slice/nerdctl-" ID1 ".scope\n", ID1, "", SPY_RUNTIME_CONTAINERD},
    {"0::/default/" ID1 "\n", ID1, "", SPY_RUNTIME_UNKNOWN},
    // no container
    {"0::/user.slice/user-1000.slice/session-2.scope\n", "", "", SPY_RUNTIME_NONE},
    {"0::/system.slice/docker.service\n", "", "", SPY_RUNTIME_NONE},
    {"0::/\n", "", "", SPY_RUNTIME_NONE},
    {"0::/system.slice/docker-3f2b8e0d.scope\n", "", "", SPY_RUNTIME_NONE},
    {"0::/docker/" ID1 "0\n", "", "", SPY_RUNTIME_NONE},
    {"0::/kubepods/podnothing/\n", "", "", SPY_RUNTIME_NONE},
    {"0::/kubepods.slice/kubepods-pod1b2c3d4e_5f60-4718_92a3_b4c5d6e7f80.slice\n", "", "",
     SPY_RUNTIME_NONE},
    // nonsense
    {"", "", "", SPY_RUNTIME_NONE},
    {":::::\n\n::\n0:/docker/" ID1 "\n", "", "", SPY_RUNTIME_NONE},
    {"0::docker-" ID1 ".scope", "", "", SPY_RUNTIME_NONE},
    {"\n\n0::/docker/" ID1, ID1, "", SPY_RUNTIME_DOCKER},
};

static void real_paths_give_container_and_pod(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_cgroup c;
        spy_cgroup_parse(rows[i].file, strlen(rows[i].file), &c);
        if (strcmp(c.container_id, rows[i].id) != 0 || strcmp(c.pod_uid, rows[i].pod) != 0 ||
            c.runtime != rows[i].runtime)
            fail_msg("%s gives '%s' '%s' %s", rows[i].file, c.container_id, c.pod_uid,
                     spy_runtime_name(c.runtime));
    }
}

static void a_line_with_a_container_wins_over_one_with_a_pod_only(void **state)
{
    (void)state;
    static const char file[] = "3:pids:/kubepods/pod" UID "\n2:cpu:/kubepods/pod" UID "/" ID1 "\n";
    struct spy_cgroup c;
    spy_cgroup_parse(file, sizeof file - 1, &c);
    assert_string_equal(c.container_id, ID1);
    assert_string_equal(c.pod_uid, UID);
}

static void every_cut_of_a_file_is_harmless(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        for (size_t n = 0; n <= strlen(rows[i].file); n++) {
            // of exactly n bytes, so that the sanitizer sees a read past them
            _cleanup_free_ char *cut = malloc(n ? n : 1);
            assert_non_null(cut);
            memcpy(cut, rows[i].file, n);
            struct spy_cgroup c;
            spy_cgroup_parse(cut, n, &c);
            size_t id = strlen(c.container_id);
            assert_true(id == 0 || id == 64);
        }
    }
}

RUN(T(real_paths_give_container_and_pod), T(a_line_with_a_container_wins_over_one_with_a_pod_only),
    T(every_cut_of_a_file_is_harmless))
