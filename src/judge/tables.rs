//! The names that the rules of this folder go by. Those of the kernel are its own, from the files named beside them (6.1
//! and 6.12); a name that a kernel doesn't have does no harm.

/// What is out of balance when one half is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Ends before the task leaves the code: a lock, a section, interrupts off.
    Section,
    /// Lives on in objects: a reference, memory, a place in a list.
    Lasting,
}

/// Two halves, as they are called once macros are expanded.
#[derive(Debug)]
pub struct Pair {
    pub what: &'static str,
    pub kind: Kind,
    pub opens: &'static [&'static str],
    pub closes: &'static [&'static str],
}

macro_rules! pairs {
    ($($what:literal $kind:ident [$($opens:literal)*] [$($closes:literal)*])*) => {
        &[$(Pair { what: $what, kind: Kind::$kind, opens: &[$($opens),*], closes: &[$($closes),*] }),*]
    };
}

#[rustfmt::skip]
pub const PAIRS: &[Pair] = pairs! {
    // include/linux/spinlock.h, spinlock_api_smp.h, rwlock_api_smp.h
    "spinlock" Section
        ["spin_lock" "spin_lock_bh" "spin_lock_irq" "_raw_spin_lock" "_raw_spin_lock_bh" "_raw_spin_lock_irq"
         "_raw_spin_lock_irqsave" "_raw_spin_lock_nested" "_raw_spin_lock_irqsave_nested"]
        ["spin_unlock" "spin_unlock_bh" "spin_unlock_irq" "spin_unlock_irqrestore" "_raw_spin_unlock" "_raw_spin_unlock_bh"
         "_raw_spin_unlock_irq" "_raw_spin_unlock_irqrestore" "__raw_spin_unlock" "__raw_spin_unlock_irq"]
    "reader lock" Section
        ["_raw_read_lock" "_raw_read_lock_bh" "_raw_read_lock_irq" "_raw_read_lock_irqsave"]
        ["_raw_read_unlock" "_raw_read_unlock_bh" "_raw_read_unlock_irq" "_raw_read_unlock_irqrestore" "__raw_read_unlock"
         "__raw_read_unlock_irq"]
    "writer lock" Section
        ["_raw_write_lock" "_raw_write_lock_bh" "_raw_write_lock_irq" "_raw_write_lock_irqsave"]
        ["_raw_write_unlock" "_raw_write_unlock_bh" "_raw_write_unlock_irq" "_raw_write_unlock_irqrestore"
         "__raw_write_unlock" "__raw_write_unlock_irq"]
    // include/linux/mutex.h, rwsem.h, semaphore.h
    "mutex" Section
        ["mutex_lock" "mutex_lock_nested" "mutex_lock_interruptible" "mutex_lock_killable" "mutex_lock_io"
         "mutex_lock_interruptible_nested" "mutex_lock_killable_nested"]
        ["mutex_unlock"]
    "rwsem for reading" Section
        ["down_read" "down_read_nested" "down_read_killable" "down_read_interruptible"] ["up_read"]
    "rwsem for writing" Section
        ["down_write" "down_write_nested" "down_write_killable"] ["up_write" "downgrade_write"]
    "semaphore" Section
        ["down" "down_interruptible" "down_killable" "down_timeout"] ["up"]
    // include/linux/rcupdate.h, srcu.h, seqlock.h
    "RCU read section" Section ["rcu_read_lock" "rcu_read_lock_bh" "rcu_read_lock_sched"]
        ["rcu_read_unlock" "rcu_read_unlock_bh" "rcu_read_unlock_sched"]
    "SRCU read section" Section ["srcu_read_lock" "srcu_read_lock_nmisafe"] ["srcu_read_unlock" "srcu_read_unlock_nmisafe"]
    "seqlock" Section
        ["write_seqlock" "write_seqlock_bh" "write_seqlock_irq" "__write_seqlock_irqsave" "do_write_seqcount_begin"
         "do_raw_write_seqcount_begin"]
        ["write_sequnlock" "write_sequnlock_bh" "write_sequnlock_irq" "write_sequnlock_irqrestore"
         "do_write_seqcount_end" "do_raw_write_seqcount_end"]
    // include/linux/bottom_half.h, preempt.h, irqflags.h
    "bottom halves" Section ["local_bh_disable"] ["local_bh_enable"]
    "preemption" Section ["__preempt_count_add"] ["__preempt_count_sub" "__preempt_count_dec_and_test"]
    "interrupts" Section ["arch_local_irq_save" "arch_local_irq_disable"] ["arch_local_irq_restore" "arch_local_irq_enable"]
    // include/net/sock.h, include/linux/rtnetlink.h, fs.h
    "socket lock" Section ["lock_sock" "lock_sock_nested" "__lock_sock" "bh_lock_sock"] ["release_sock" "__release_sock"]
    "rtnl" Section ["rtnl_lock" "rtnl_lock_killable"] ["rtnl_unlock" "__rtnl_unlock"]
    "inode lock" Section ["inode_lock" "inode_lock_nested" "inode_lock_shared" "inode_lock_killable"]
        ["inode_unlock" "inode_unlock_shared"]
    "address space lock" Section
        ["mmap_read_lock" "mmap_read_lock_killable" "mmap_read_trylock" "mmap_write_lock" "mmap_write_lock_killable"]
        ["mmap_read_unlock" "mmap_read_unlock_non_owner" "mmap_write_unlock" "mmap_write_downgrade"]
    "page lock" Section ["lock_page" "folio_lock" "lock_page_killable"] ["unlock_page" "folio_unlock"]
    "write access" Section ["mnt_want_write" "mnt_want_write_file" "sb_start_write" "file_start_write"]
        ["mnt_drop_write" "mnt_drop_write_file" "sb_end_write" "file_end_write"]
    "user access" Section ["__uaccess_begin" "user_access_begin"] ["__uaccess_end" "user_access_end"]
    // include/linux/highmem.h
    "temporary mapping" Section ["kmap" "kmap_atomic" "kmap_local_page" "kmap_local_folio"]
        ["kunmap" "__kunmap_atomic" "__kunmap_local"]
    // include/linux/slab.h, mm.h, vmalloc.h
    "memory" Lasting
        ["kmalloc" "kzalloc" "kcalloc" "kmalloc_array" "kmalloc_node" "kzalloc_node" "__kmalloc" "kmemdup" "kstrdup" "kstrndup"
         "kvmalloc" "kvzalloc" "kvmalloc_array" "kvcalloc" "vmalloc" "vzalloc" "memdup_user" "memdup_user_nul" "kasprintf"
         "strndup_user" "kmemdup_nul" "vmemdup_user"]
        ["kfree" "kfree_sensitive" "kvfree" "vfree" "kvfree_call_rcu" "kfree_const" "kvfree_sensitive"]
    "slab object" Lasting ["kmem_cache_alloc" "kmem_cache_zalloc" "kmem_cache_alloc_node"] ["kmem_cache_free"]
    "pages" Lasting ["alloc_pages" "__get_free_pages" "get_zeroed_page" "alloc_page"] ["__free_pages" "free_pages" "free_page"]
    "page reference" Lasting ["get_page" "folio_get" "try_get_page"] ["put_page" "folio_put" "put_user_page"]
    // include/linux/kref.h, refcount.h, atomic/atomic-instrumented.h, percpu-refcount.h
    "kref" Lasting ["kref_get" "kref_get_unless_zero"] ["kref_put" "kref_put_mutex" "kref_put_lock"]
    "refcount" Lasting ["refcount_inc" "refcount_inc_not_zero" "refcount_add"]
        ["refcount_dec" "refcount_dec_and_test" "refcount_sub_and_test" "refcount_dec_and_lock" "refcount_dec_and_mutex_lock"]
    "atomic counter" Lasting
        ["atomic_inc" "atomic_long_inc" "atomic64_inc" "atomic_inc_return" "atomic_inc_not_zero" "atomic_add"]
        ["atomic_dec" "atomic_long_dec" "atomic64_dec" "atomic_dec_return" "atomic_dec_and_test" "atomic_sub"]
    "per-CPU reference" Lasting ["percpu_ref_get" "percpu_ref_tryget" "percpu_ref_tryget_live"] ["percpu_ref_put"]
    // include/linux/list.h, rculist.h, rbtree.h, xarray.h
    "place in a list" Lasting
        ["list_add" "list_add_tail" "list_add_rcu" "list_add_tail_rcu"]
        ["list_del" "list_del_init" "list_del_rcu" "list_del_init_careful"]
    "place in a hash list" Lasting
        ["hlist_add_head" "hlist_add_head_rcu" "hlist_add_behind" "hlist_add_behind_rcu" "hlist_add_tail_rcu"]
        ["hlist_del" "hlist_del_init" "hlist_del_rcu" "hlist_del_init_rcu"]
    "place in a tree" Lasting ["rb_insert_color" "rb_insert_color_cached" "rb_link_node"] ["rb_erase" "rb_erase_cached"]
    "place in an array" Lasting ["xa_store" "xa_insert" "xa_alloc" "idr_alloc" "idr_alloc_cyclic" "ida_alloc_range"]
        ["xa_erase" "idr_remove" "ida_free"]
    // include/linux/fs.h, dcache.h, mount.h, file.h
    "file reference" Lasting ["fget" "get_file" "fget_raw"] ["fput" "fput_many"]
    "inode reference" Lasting ["igrab" "ihold" "iget_locked" "iget5_locked" "ilookup"] ["iput"]
    "dentry reference" Lasting ["dget" "dget_parent" "dget_dlock"] ["dput"]
    "path reference" Lasting ["path_get" "kern_path" "mntget"] ["path_put" "mntput"]
    // include/linux/sched/task.h, sched/mm.h, cred.h, pid.h, nsproxy.h
    "task reference" Lasting ["get_task_struct" "get_pid_task" "find_get_task_by_vpid"] ["put_task_struct"]
    "mm reference" Lasting ["mmget" "mmget_not_zero" "get_task_mm"] ["mmput" "mmput_async"]
    "mm structure reference" Lasting ["mmgrab"] ["mmdrop"]
    "pid reference" Lasting ["get_pid" "find_get_pid" "get_task_pid"] ["put_pid"]
    "credentials" Lasting ["get_cred" "get_current_cred" "prepare_creds" "get_task_cred"] ["put_cred" "abort_creds"]
    "module reference" Lasting ["try_module_get" "__module_get"] ["module_put" "__module_put_and_kthread_exit"]
    // include/linux/skbuff.h, netdevice.h, include/net/sock.h, dst.h, net_namespace.h
    "socket reference" Lasting ["sock_hold"] ["sock_put" "__sock_put" "sock_gen_put"]
    "device reference" Lasting ["dev_hold" "netdev_hold" "dev_get_by_index" "dev_get_by_name" "in_dev_get"]
        ["dev_put" "netdev_put" "in_dev_put"]
    "network namespace" Lasting ["get_net" "maybe_get_net" "get_net_ns_by_fd" "get_net_ns_by_pid"] ["put_net"]
    "packet" Lasting ["alloc_skb" "__alloc_skb" "skb_clone" "skb_copy" "skb_get" "netdev_alloc_skb" "sock_alloc_send_skb"]
        ["kfree_skb" "consume_skb" "kfree_skb_reason" "__kfree_skb" "dev_kfree_skb_any" "kfree_skb_list_reason"]
    "route" Lasting ["dst_hold" "dst_clone" "dst_hold_safe"] ["dst_release" "dst_release_immediate"]
    // include/linux/device.h, kobject.h, of.h
    "device structure reference" Lasting ["get_device"] ["put_device"]
    "kobject reference" Lasting ["kobject_get"] ["kobject_put"]
    "device node reference" Lasting ["of_node_get" "of_find_node_by_name" "of_parse_phandle"] ["of_node_put"]
    // include/linux/timer.h, workqueue.h, interrupt.h
    "timer" Lasting ["add_timer" "mod_timer"] ["del_timer" "del_timer_sync" "timer_delete" "timer_delete_sync" "timer_shutdown_sync"]
    "work" Lasting ["queue_work" "queue_work_on" "schedule_work" "queue_delayed_work" "schedule_delayed_work" "mod_delayed_work"]
        ["cancel_work_sync" "cancel_work" "cancel_delayed_work" "cancel_delayed_work_sync" "flush_work" "flush_delayed_work"]
    "interrupt line" Lasting ["request_irq" "request_threaded_irq"] ["free_irq"]
    // include/linux/jump_label.h
    "static key" Lasting ["static_key_slow_inc" "static_key_enable" "static_key_slow_inc_cpuslocked"]
        ["static_key_slow_dec" "static_key_disable" "__static_key_slow_dec_deferred"]
};

/// Verbs that make two functions of one subsystem a pair, if the unit declares both: `ep_lock`, `ep_unlock`.
pub const VERBS: &[(&str, &str, Kind)] = &[
    ("lock", "unlock", Kind::Section),
    ("begin", "end", Kind::Section),
    ("enter", "exit", Kind::Section),
    ("freeze", "unfreeze", Kind::Section),
    ("get", "put", Kind::Lasting),
    ("hold", "put", Kind::Lasting),
    ("hold", "release", Kind::Lasting),
    ("acquire", "release", Kind::Lasting),
    ("grab", "drop", Kind::Lasting),
    ("ref", "unref", Kind::Lasting),
    ("pin", "unpin", Kind::Lasting),
    ("alloc", "free", Kind::Lasting),
    ("create", "destroy", Kind::Lasting),
    ("add", "del", Kind::Lasting),
    ("add", "remove", Kind::Lasting),
    ("link", "unlink", Kind::Lasting),
    ("insert", "remove", Kind::Lasting),
    ("attach", "detach", Kind::Lasting),
    ("register", "unregister", Kind::Lasting),
    ("enable", "disable", Kind::Lasting),
    ("map", "unmap", Kind::Lasting),
    ("inc", "dec", Kind::Lasting),
    ("charge", "uncharge", Kind::Lasting),
    ("reserve", "unreserve", Kind::Lasting),
];

/// Names that verbs make look like pairs and that aren't: getters beside setters, writers beside readers.
pub const NO_PAIRS: &[&str] = &[
    // include/net/netlink.h: nla_get_u32() reads an attribute, nla_put_u32() writes one.
    "nla_",
    "nlmsg_",
    "genlmsg_",
    // include/linux/skbuff.h: skb_put() extends the data, skb_get() takes a reference.
    "skb_put",
    "__skb_put",
    "pskb_put",
    // include/asm-generic/unaligned.h, include/linux/uaccess.h
    "get_unaligned",
    "put_unaligned",
    "__get_unaligned",
    "__put_unaligned",
    "__get_user",
    "__put_user",
    "get_user",
    "put_user",
    // include/asm-generic/bitops, include/linux/cpumask.h
    "get_cpu_mask",
    "get_random",
];

/// Functions that allocate, and which of their parameters (from 0) say how much (include/linux/slab.h, vmalloc.h, mm.h,
/// skbuff.h, device.h).
pub const ALLOCATORS: &[(&str, &[usize])] = &[
    ("kmalloc", &[0]),
    ("kzalloc", &[0]),
    ("__kmalloc", &[0]),
    ("kmalloc_node", &[0]),
    ("kzalloc_node", &[0]),
    ("kcalloc", &[0, 1]),
    ("kmalloc_array", &[0, 1]),
    ("kvmalloc", &[0]),
    ("kvzalloc", &[0]),
    ("kvmalloc_array", &[0, 1]),
    ("kvcalloc", &[0, 1]),
    ("kvmalloc_node", &[0]),
    ("vmalloc", &[0]),
    ("vzalloc", &[0]),
    ("kmemdup", &[1]),
    ("krealloc", &[1]),
    ("devm_kzalloc", &[1]),
    ("devm_kmalloc", &[1]),
    ("devm_kcalloc", &[1, 2]),
    ("alloc_skb", &[0]),
    ("__alloc_skb", &[0]),
    ("sock_kmalloc", &[1]),
    ("__alloc_percpu", &[0]),
    ("__alloc_percpu_gfp", &[0]),
    ("kmem_cache_create", &[1]),
    ("kmem_cache_create_usercopy", &[1]),
    ("dma_alloc_coherent", &[1]),
];

/// Other functions that yield a new object.
pub const CONSTRUCTORS: &[&str] = &[
    "kmem_cache_alloc",
    "kmem_cache_zalloc",
    "kmem_cache_alloc_node",
    "sk_alloc",
    "alloc_netdev_mqs",
    "alloc_etherdev_mqs",
    "new_inode",
    "alloc_inode",
];

/// Calls that make a member of an object usable, once macros are expanded (include/linux/list.h, spinlock.h, mutex.h,
/// rwsem.h, workqueue.h, timer.h, wait.h, completion.h, kref.h, refcount.h, idr.h, xarray.h, seqlock.h, srcu.h).
pub const INITIALISERS: &[&str] = &[
    "INIT_LIST_HEAD",
    "INIT_LIST_HEAD_RCU",
    "INIT_HLIST_NODE",
    "__raw_spin_lock_init",
    "__rwlock_init",
    "__mutex_init",
    "__init_rwsem",
    "sema_init",
    "__init_work",
    "init_timer_key",
    "hrtimer_init",
    "__init_waitqueue_head",
    "init_waitqueue_head",
    "init_completion",
    "init_swait_queue_head",
    "__init_swait_queue_head",
    "init_irq_work",
    "tasklet_init",
    "tasklet_setup",
    "kref_init",
    "refcount_set",
    "kobject_init",
    "idr_init",
    "idr_init_base",
    "ida_init",
    "xa_init",
    "xa_init_flags",
    "bit_spin_lock_init",
    "init_srcu_struct",
    "percpu_ref_init",
    "__percpu_counter_init",
    "skb_queue_head_init",
    "__skb_queue_head_init",
    "seqcount_init",
    "__seqcount_init",
    "ratelimit_state_init",
    "kfifo_init",
    "rhashtable_init",
    "lockref_init",
];

/// How a kernel thread asks whether it must end or pause (include/linux/kthread.h, freezer.h): whoever asks so in a loop is
/// a thread's main loop.
pub const THREAD_QUESTIONS: &[&str] = &[
    "kthread_should_stop",
    "kthread_should_park",
    "kthread_freezable_should_stop",
    "kthread_parkme",
    "__kthread_should_park",
    "set_freezable",
];

/// Functions that start a thread; one of their arguments is its main function (include/linux/kthread.h, sched/task.h,
/// smpboot.h).
pub const THREAD_STARTERS: &[&str] = &[
    "kthread_create_on_node",
    "kthread_create_on_cpu",
    "kthread_create",
    "kthread_run",
    "kernel_thread",
    "user_mode_thread",
    "smpboot_register_percpu_thread",
    "__kthread_init_worker",
];

/// Functions that call back before they return, so that a function's address given to them goes no further (lib/sort.c,
/// lib/bsearch.c, lib/list_sort.c, kernel/smp.c, kernel/stop_machine.c, drivers/base/, mm/pagewalk.c, lib/idr.c,
/// kernel/sched/wait.c, net/core/dev.c).
pub const CALL_BACK_AT_ONCE: &[&str] = &[
    "sort",
    "sort_r",
    "bsearch",
    "__inline_bsearch",
    "list_sort",
    "stop_machine",
    "stop_machine_cpuslocked",
    "bus_for_each_dev",
    "bus_find_device",
    "class_for_each_device",
    "class_find_device",
    "driver_for_each_device",
    "driver_find_device",
    "device_for_each_child",
    "device_find_child",
    "walk_page_range",
    "walk_page_vma",
    "idr_for_each",
    "radix_tree_for_each",
    "iterate_fd",
    "iterate_dir",
    "iterate_supers",
    "iterate_supers_type",
    "netdev_walk_all_lower_dev",
    "netdev_walk_all_lower_dev_rcu",
    "netdev_walk_all_upper_dev_rcu",
    "rmap_walk",
    "apply_to_page_range",
    "work_on_cpu",
    "task_call_func",
    "out_of_line_wait_on_bit",
    "out_of_line_wait_on_bit_lock",
];

/// Functions that keep the string that they are given, and don't copy it (kernel/irq/manage.c and devres.c,
/// include/linux/interrupt.h, kernel/resource.c, drivers/pci/pci.c, include/linux/pci.h).
pub const KEEPS_STRINGS: &[&str] = &[
    "request_irq",
    "request_nmi",
    "request_threaded_irq",
    "request_any_context_irq",
    "request_percpu_irq",
    "__request_percpu_irq",
    "devm_request_irq",
    "devm_request_threaded_irq",
    "devm_request_any_context_irq",
    "__request_region",
    "__devm_request_region",
    "pci_request_region",
    "pci_request_regions",
    "pci_request_regions_exclusive",
    "pci_request_selected_regions",
    "pci_request_selected_regions_exclusive",
    "pci_request_mem_regions",
    "pci_request_io_regions",
];
