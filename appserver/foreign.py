"""Options of uWSGI 2.0 that are none here: which of them are unnecessary, which are not supported, and why.

It is data: under each reason the options for which it holds. ``name=`` takes a value, ``name?`` may take
one, and ``name`` is a flag; the command line has to know. The names are those of uWSGI's own tables.
"""

from __future__ import annotations

from typing import NamedTuple


class Foreign(NamedTuple):
    """An option of uWSGI that this server has not; ``takes`` is ``=`` for a value, ``?`` or nothing."""

    name: str
    takes: str
    unnecessary: bool
    why: str


_UNNECESSARY = """
Python is built in; there are no plug-ins to load for it.
    plugin= plugins= need-plugin= need-plugins= plugin-dir= plugins-dir= autoload dlopen=
Threads of the application always run.
    enable-threads no-threads-wait
There is one interpreter in each process.
    single-interpreter
The server never starts without its application.
    need-app?
SIGTERM always finishes what is in hand and stops.
    die-on-term
Locks are the kernel's, and need nothing to be set up.
    lock-engine= ftok= persistent-ipcsem
The kernel wakes one worker for each connection; there is no lock to take.
    thunder-lock
Workers notice the end of their master, finish what they have and end.
    no-orphans
Clients that leave cost one line in the log, never an exception or a signal.
    ignore-sigpipe ignore-write-errors disable-write-exception write-errors-tolerance=
    write-errors-exception-only
Python's own after-fork hooks are always run.
    py-call-osafterfork py-call-uwsgi-fork-hooks
The option gevent patches the standard library before the application is loaded.
    gevent-early-monkey-patch gevent-wait-for-hub
The event loop sends files and answers to slow readers; no thread of the application waits for them.
    offload-threads= offload-thread=
Processes log by themselves; no master has to collect the lines.
    log-master log-master-bufsize= log-master-stream log-master-req-stream threaded-logger
    log-buffering=
Answers of unknown length are always chunked for HTTP/1.1.
    http-auto-chunked
Request bodies are read and decoded whole, chunked ones, too.
    http-chunked-input http-raw-body wsgi-manage-chunked-input post-buffering-bufsize=
    body-read-warning= http-manage-expect?
WebSocket needs no setting; uwsgi.websocket_recv and its kin are there with gevent = N or threads = N.
    http-websockets
HTTP is served by the workers themselves; there is no router process to set up.
    http-processes= http-workers= http-stats= http-stats-server= http-ss= http-harakiri=
    http-connect-timeout= http-uid= http-gid= http-modifier1= http-modifier2= http-use-pattern=
    http-quiet= http-cheap http-events= http-manage-source http-buffer-size=
    http-server-name-as-http-host=
Buffers grow as they are needed.
    max-vars= response-headers-limit=
Every connection has TCP_NODELAY where it helps, and the kernel's defaults elsewhere.
    tcp-nodelay no-defer-accept so-keepalive socket-sndbuf= socket-rcvbuf= so-send-timeout
    socket-send-timeout so-write-timeout socket-write-timeout tcp-fast-open= tcp-fastopen=
    tcp-fast-open-client tcp-fastopen-client
Sockets are always closed on exec.
    close-on-exec close-on-exec2
Every request has an environ of its own.
    wsgi-env-behavior= wsgi-env-behaviour= wsgi-strict wsgi-accept-buffer wsgi-accept-buffers
Nobody is kept from using wsgi.file_wrapper; an application that does not call it never meets it.
    wsgi-disable-file-wrapper
Ranges and sendfile need no switch.
    disable-sendfile
Memory of workers is shared by fork and watched by reload-on-rss; ps and top show it.
    memory-report ksm? never-swap
The kernel schedules processes well by itself; systemd's CPUAffinity= and Nice= set more.
    cpu-affinity= prio=
File descriptors, address space and processes are limited by systemd's LimitNOFILE= and so on, or ulimit.
    max-fd= limit-as= limit-nproc=
The stacks of a request that harakiri ends are always logged.
    harakiri-verbose harakiri-graceful-timeout= harakiri-graceful-signal= harakiri-no-arh
    no-harakiri-arh no-harakiri-after-req-hook backtrace-depth=
Answers begin when the application begins them.
    start_response-nodelay
Standard input is left alone, and descriptors that systemd passes are used where an address names them.
    honour-stdin no-fd-passing safe-fd= fd-safe= daemons-honour-stdin
Modules are compiled as the interpreter was told to: set PYTHONOPTIMIZE.
    optimize=
The effective configuration is printed by appserver --show-config, which serves nothing.
    show-config dump-options
The only event loop is that of gevent.
    loop= greenlet ugreen stackless fiber coroae=
The log files are opened with their rights and reopened by SIGUSR1, a touch file or appserver ctl.
    log-reopen logfile-chown
Errors while sending are logged with the request.
    log-ioerror= log-sendfile= log-zero
The master reaps whatever is left to it.
    reaper
The master's look at its workers costs nothing that would need tuning.
    check-interval= forkbomb-delay= mem-collector-freq= clock= skip-zero skip-atexit
    skip-atexit-teardown use-abort
Applications are not counted beside each other.
    max-apps=
A connection belongs to the worker that accepted it, and reuse is the server's.
    http-keepalive-timeout=
What is not there yet is not subscribed to.
    unsubscribe-on-graceful-reload start-unsubscribed
Groups besides those of the account and of add-gid are always dropped.
    no-initgroups
The application's requests find their modifiers ignored, as there is only Python.
    http-socket-modifier1= http-socket-modifier2= https-socket-modifier1= https-socket-modifier2=
    fastcgi-modifier1= fastcgi-modifier2= scgi-modifier1= scgi-modifier2= raw-modifier1= raw-modifier2=
    allowed-modifiers= remap-modifier=
There are no metrics that could be left out of the statistics.
    stats-no-metrics
The regular expressions are Python's.
    pcre-jit
The interpreter's site is needed, and its executable is the one that runs.
    no-site py-executable= py-sys-executable=
The HTTP port is closed to slow and idle clients by socket-timeout and keepalive-timeout.
    http-gracetime= http-use-cache? http-use-base= http-use-code-string= http-use-socket?
Sockets are never shut down for others: a stop lets new connections go where they can.
    shutdown-sockets
Names of modules and of the program are the interpreter's.
    py-programname= py-program-name= py-sharedarea= python-version
Every line about a request has its time with a fraction.
    log-micros
Paths of files are looked up anew, which costs microseconds.
    static-cache-paths= static-cache-paths-name=
Files are always served in the ranges that are asked for.
    honour-range
"""

_UNSUPPORTED = """
There is no Emperor: run one appserver for each site, from systemd or a container.
    emperor= emperor-proxy-socket= emperor-wrapper= emperor-wrapper-override= emperor-wrapper-fallback=
    emperor-nofollow emperor-procname= emperor-freq= emperor-required-heartbeat=
    emperor-curse-tolerance= emperor-pidfile= emperor-tyrant emperor-tyrant-nofollow emperor-stats=
    emperor-stats-server= emperor-broodlord= emperor-throttle= emperor-max-throttle= emperor-magic-exec
    emperor-on-demand-extension= emperor-on-demand-ext= emperor-on-demand-directory=
    emperor-on-demand-dir= emperor-on-demand-exec= emperor-extra-extension= emperor-extra-ext=
    emperor-no-blacklist emperor-use-clone= emperor-graceful-shutdown emperor-cap= vassals-cap=
    vassal-cap= vassals-inherit= vassals-include= vassals-inherit-before= vassals-include-before=
    vassals-start-hook= vassals-stop-hook= vassal-sos= vassal-sos-backlog= vassals-set= vassal-set=
    imperial-monitor-list imperial-monitors-list early-emperor heartbeat= hook-as-vassal=
    hook-as-emperor= hook-emperor-start= hook-emperor-stop= hook-emperor-reload= hook-emperor-lost=
    exec-as-vassal= exec-as-emperor= call-as-vassal= call-as-vassal1= call-as-vassal3= call-as-emperor=
    call-as-emperor1= call-as-emperor2= call-as-emperor4= mount-as-root= mount-as-vassal=
    mount-as-emperor= umount-as-root= umount-as-vassal= umount-as-emperor= hook-as-mule=
    hook-as-gateway= notify-socket=
There are no mules: run a worker of a task queue beside the server.
    mule? mules= farm= mule-harakiri= mule-reload-mercy= mule-msg-size? touch-mules-reload=
There is no spooler: use a task queue, such as Celery, RQ or Huey.
    spooler= spooler-external= spooler-ordered spooler-chdir= spooler-processes= spooler-quiet
    spooler-max-tasks= spooler-harakiri= spooler-frequency= spooler-freq= spooler-import=
    spooler-pyimport= spooler-py-import= spooler-python-import= touch-spoolers-reload=
There is no legion: let systemd, keepalived or the orchestrator choose who is the lord.
    legion= legion-mcast= legion-node= legion-freq= legion-tolerance= legion-death-on-lord-error=
    legion-skew-tolerance= legion-lord= legion-unlord= legion-setup= legion-death= legion-join=
    legion-node-joined= legion-node-left= legion-quorum= legion-scroll= legion-scroll-max-size=
    legion-scroll-list-max-size= legion-cron= legion-attach-daemon= legion-smart-attach-daemon=
    legion-smart-attach-daemon2= legion-curl-cron= legion-cron-curl= cron-legion= unique-legion-cron=
    unique-cron-legion=
Nothing is subscribed to a router: name the servers in the front end.
    subscribe-to= subscribe= subscribe2= subscribe-freq= subscribe-with-modifier1= st=
    subscription-notify-socket= subscriptions-sign-check= subscriptions-sign-check-tolerance=
    subscriptions-sign-skip-uid= subscriptions-credentials-check= subscriptions-use-credentials
    subscription-algo= subscription-dotsplit subscription-tolerance=
There is no shared cache: use Redis or memcached.
    cache= cache-blocksize= cache-store= cache-store-sync= cache-no-expire cache-expire-freq=
    cache-report-freed-items cache-udp-server= cache-udp-node= cache-sync= cache-use-last-modified
    cache2= add-cache-item= load-file-in-cache= load-file-in-cache-gzip= check-cache? queue=
    queue-blocksize= queue-store= queue-store-sync= sharedarea=
Of internal routing there are route, route-if, route-run and similar options: do the rest in the front end.
    route-label= final-route=
    final-route-status= final-route-host= final-route-uri= final-route-qs= final-route-remote-addr=
    final-route-user-agent= final-route-remote-user= final-route-referer= final-route-label=
    final-route-if= final-route-if-not= final-route-run= error-route= error-route-status=
    error-route-host= error-route-uri= error-route-qs= error-route-remote-addr= error-route-user-agent=
    error-route-remote-user= error-route-referer= error-route-label= error-route-if= error-route-if-not=
    error-route-run= response-route= response-route-status= response-route-host= response-route-uri=
    response-route-qs= response-route-remote-addr= response-route-user-agent=
    response-route-remote-user= response-route-referer= response-route-label= response-route-if=
    response-route-if-not= response-route-run= router-list routers-list error-page-403= error-page-404=
    error-page-500= collect-header= response-header-collect= pull-header=
Alarms are the log collector's: let it watch the log.
    alarm-metric= alarm= alarm-cheap= alarm-freq= alarm-fd= alarm-segfault= alarm-backlog= alarm-lq=
    alarm-listen-queue= alarm-log= alarm-list alarms-list alarm-msg-size= segfault-alarm= backlog-alarm=
    lq-alarm= listen-queue-alarm= log-alarm= not-log-alarm= not-alarm-log=
Statistics are not pushed, and there are no metrics: a collector asks at stats, as it asks uWSGI.
    enable-metrics metric= metric-threshold= metric-alarm= metrics-dir= metrics-dir-restore metric-dir=
    metric-dir-restore metrics-no-cores stats-push= stats-pusher-default-freq=
    stats-pushers-default-freq= carbon= carbon-timeout= carbon-freq= carbon-id= carbon-no-workers
    carbon-max-retry= carbon-retry-delay= carbon-root= carbon-hostname-dots= carbon-name-resolve
    carbon-resolve-names carbon-idle-avg= carbon-use-metrics snmp? snmp-community= zabbix-template?
    rrdtool= rrdtool-freq= rrdtool-lib=
The server runs in no namespace, jail or cgroup of its own: systemd and containers make them.
    unshare= unshare2= setns-socket= setns-socket-skip= setns-skip= setns= setns-preopen jailed jail=
    jail-ip4= jail-ip6= jail2= jail-attach= jid-file= jidfile= libjail= cgroup= cgroup-opt=
    cgroup-dir-mode= namespace= namespace-keep-mount= namespace-net= ns= ns-net= chroot= pivot-root=
    pivot_root= refork refork-as-root refork-post-jail re-fork re-fork-as-root re-fork-post-jail cap=
    hook-pre-jail= hook-post-jail= hook-in-jail= exec-pre-jail= exec-post-jail= exec-in-jail=
    mount-asap= mount-pre-jail= mount-post-jail= mount-in-jail= mount-check= umount-asap=
    umount-pre-jail= umount-post-jail= umount-in-jail= call-pre-jail= call-post-jail= call-in-jail=
TLS is the front end's: let nginx, Apache or Mongrel2 end it.
    https-socket= suwsgi-socket= ssl-socket= https= https2= https-export-cert https-session-context=
    http-to-https= sni= sni-dir= sni-dir-ciphers= sni-regexp= ssl-verbose ssl-verify-depth?
    ssl-sessions-use-cache? ssl-session-use-cache? ssl-sessions-timeout= ssl-session-timeout=
    ssl-enable3 ssl-enable-sslv3 ssl-enable-tlsv1 ssl-option ssl-tmp-dir=
The bare connection is not handed to the application.
    raw-socket=
Connections over uwsgi are not kept: their requests have no safe end.
    puwsgi-socket=
FastCGI always answers with a Status field, as front ends expect it.
    fastcgi-nph-socket=
SCGI always answers with a Status field, as front ends expect it.
    scgi-nph-socket=
A socket is named where it is used: give the address itself, or fd://N.
    shared-socket= undeferred-shared-socket= map-socket=
There is one site in each server: run one appserver for each host name.
    vhost vhost-host
There is no plug-in for this kind of logger: use logger = file:PATH, stdio or zeromq:ENDPOINT.
    log-socket= log-syslog? logger-list loggers-list
The application's tracebacks go to the log, never to the client.
    catch-exceptions
A worker goes on after an exception: it costs one answer 500.
    reload-on-exception reload-on-exception-type= reload-on-exception-value= reload-on-exception-repr=
    exception-handler=
Code is never loaded because a request asks for it.
    dynamic-apps
Paste is not used: name a function that calls paste.deploy.loadapp as module = pkg:factory().
    paste= paste-logger ini-paste= ini-paste-logged= pecan= wsgi-lite= eval=
No Python program takes the place of the workers.
    python-worker-override= pyshell? pyshell-oneshot? pyrun= py= python= worker-exec= worker-exec2=
Asynchronous cores are greenlets here: set gevent = N.
    async= asyncio= tornado=
Stacks are written to the log by SIGUSR2 or appserver ctl stacks.
    py-tracebacker= profiler=
Commands go over the control socket; there is no master FIFO: use appserver ctl.
    master-fifo=
Signals are raised in the application, by uwsgi.add_timer and similar functions.
    signal= signal-bufsize= signal-timer= signal-rbtimer= signals-bufsize= timer= rbtimer= touch-signal=
    fs-signal= rpc-max=
Whole directories are not watched: touch one file, or set py-autoreload.
    fs-reload= fs-brutal-reload=
Workers are not reloaded without their application: use touch-reload or touch-chain-reload.
    touch-workers-reload= reload-on-fd= brutal-reload-on-fd=
Shared memory and a process's own are not distinguished: use reload-on-rss.
    reload-on-uss= reload-on-pss=
Workers are started at once, and kept: use cheaper.
    cheap idle= die-on-idle cheaper-algo= cheaper-algo-list cheaper-algos-list cheaper-list
    cheaper-rss-limit-soft= cheaper-rss-limit-hard= cheaper-busyness-max= cheaper-busyness-min=
    cheaper-busyness-multiplier= cheaper-busyness-penalty= cheaper-busyness-verbose
    cheaper-busyness-backlog-alert= cheaper-busyness-backlog-multiplier= cheaper-busyness-backlog-step=
    cheaper-busyness-backlog-nonzero=
No other server is called: there is no gateway or proxy.
    fastrouter= fastrouter-processes= fastrouter-workers= fastrouter-zerg= fastrouter-use-cache?
    fastrouter-use-pattern= fastrouter-use-base= fastrouter-fallback= fastrouter-use-code-string=
    fastrouter-use-socket? fastrouter-to= fastrouter-gracetime= fastrouter-events= fastrouter-quiet=
    fastrouter-cheap fastrouter-subscription-server= fastrouter-subscription-slot= fastrouter-timeout=
    fastrouter-post-buffering= fastrouter-post-buffering-dir= fastrouter-stats= fastrouter-stats-server=
    fastrouter-ss= fastrouter-harakiri= fastrouter-uid= fastrouter-gid= fastrouter-resubscribe=
    fastrouter-resubscribe-bind= fastrouter-buffer-size= fastrouter-fallback-on-no-key
    fastrouter-subscription-fallback-key= rawrouter= rawrouter-processes= rawrouter-workers=
    rawrouter-zerg= rawrouter-use-cache? rawrouter-use-pattern= rawrouter-use-base= rawrouter-fallback=
    rawrouter-use-code-string= rawrouter-use-socket? rawrouter-to= rawrouter-gracetime=
    rawrouter-events= rawrouter-max-retries= rawrouter-quiet= rawrouter-cheap
    rawrouter-subscription-server= rawrouter-subscription-slot= rawrouter-timeout= rawrouter-stats=
    rawrouter-stats-server= rawrouter-ss= rawrouter-harakiri= rawrouter-xclient rawrouter-buffer-size=
    sslrouter= sslrouter2= sslrouter-session-context= sslrouter-processes= sslrouter-workers=
    sslrouter-zerg= sslrouter-use-cache? sslrouter-use-pattern= sslrouter-use-base= sslrouter-fallback=
    sslrouter-use-code-string= sslrouter-use-socket? sslrouter-to= sslrouter-gracetime=
    sslrouter-events= sslrouter-max-retries= sslrouter-quiet= sslrouter-cheap
    sslrouter-subscription-server= sslrouter-timeout= sslrouter-stats= sslrouter-stats-server=
    sslrouter-ss= sslrouter-harakiri= sslrouter-sni sslrouter-buffer-size= http-to=
    http-subscription-server= http-subscription-fallback-key= http-resubscribe=
    http-manage-rtsp http-auto-gzip http-zerg= http-var= forkptyrouter= forkptyrouter-command=
    forkptyrouter-cmd= forkptyrouter-rows= forkptyrouter-cols= forkptyrouter-processes=
    forkptyrouter-workers= forkptyrouter-zerg= forkptyrouter-fallback= forkptyrouter-events=
    forkptyrouter-cheap forkptyrouter-timeout= forkptyrouter-stats= forkptyrouter-stats-server=
    forkptyrouter-ss= forkptyrouter-harakiri= zerg= zerg-fallback zerg-server= zergpool= zerg-pool=
    tuntap-router= tuntap-device= tuntap-use-credentials? tuntap-router-firewall-in=
    tuntap-router-firewall-out= tuntap-router-route= tuntap-router-stats= tuntap-device-rule= weight=
    auto-weight= force-gateway http-stud-prefix= http-fallback=
The configuration is read from ini files only.
    ldap= ldap-schema ldap-schema-ldif sqlite= sqlite3= inject-before= inject-after=
No options are forbidden or made up.
    blacklist= end-blacklist whitelist= end-whitelist declare-option= declare-option2= resolve=
There is no other configuration to fall back to: a start that fails says why and exits with 1.
    fallback-config=
A reload is never a stop: use appserver ctl stop.
    exit-on-reload
Log lines are written whole and unnumbered; the front end's access log has the rest.
    log-prefix? log-truncate
The file is not locked: pidfile keeps a second server from starting.
    flock= flock-wait= flock2= flock-wait2=
What a request may send is limited by the front end and by limit-post.
    chunked-input-limit= chunked-input-timeout= upload-progress=
The environment is set once: use env.
    reload-os-env early-envdir=
It is another language's: this server runs Python.
    cgi= cgi-map-helper= cgi-helper= cgi-from-docroot cgi-buffer-size= cgi-timeout= cgi-index=
    cgi-allowed-ext= cgi-unset= cgi-loadlib= cgi-optimize cgi-optimized cgi-path-info
    cgi-do-not-kill-on-error cgi-async-max-attempts cgi-close-stdin-on-eof cgi-safe= php-ini=
    php-config= php-ini-append= php-config-append= php-set= php-index= php-docroot= php-allowed-docroot=
    php-allowed-ext= php-allowed-script= php-server-software= php-app= php-app-qs= php-fallback=
    php-fallback2= php-fallback-qs= php-app-bypass= php-var= php-constant= php-dump-config
    php-exec-before= php-exec-begin= php-exec-after= php-exec-end= php-sapi-name= psgi=
    psgi-enable-psgix-io perl-no-die-catch perl-local-lib= perl-version perl-args= perl-arg= perl-exec=
    perl-exec-post-fork= perl-auto-reload= perl-auto-reload-ignore= plshell? plshell-oneshot
    perl-no-plack rails= rack= ruby-gc-freq= rb-gc-freq= rb-lib= ruby-lib= rb-require= ruby-require=
    rbrequire= rubyrequire= require= shared-rb-require= shared-ruby-require= shared-rbrequire=
    shared-rubyrequire= shared-require= gemset= rvm= rvm-path= rbshell? rbshell-oneshot lua= lua-load=
    lua-shell luashell lua-gc-freq mono-app= mono-gc-freq= mono-key= mono-version= mono-config=
    mono-assembly= mono-exec= mono-index= jvm-main-class= jvm-opt= jvm-class= jvm-classpath= jwsgi=
    ring-load= clojure-load= ring-app= v8-load= v8-preemptive= v8-gc-freq= v8-module-path= v8-jsgi=
    go-load= gccgo-load= go-args= gccgo-args= goroutines= pypy-lib= pypy-setup= pypy-home= pypy-wsgi=
    pypy-wsgi-file= pypy-ini-paste= pypy-paste= pypy-eval= pypy-eval-post-fork= pypy-exec=
    pypy-exec-post-fork= pypy-pp= pypy-python-path= pypy-pythonpath= xslt-docroot= xslt-ext= xslt-var=
    xslt-stylesheet= xslt-content-type= symcall= symcall-use-next symcall-register-rpc=
    symcall-post-fork= dumbloop-modifier1= dumbloop-code= dumbloop-function= webdav-mount= webdav-css=
    webdav-javascript= webdav-js= webdav-class-directory= webdav-div= webdav-lock-cache=
    webdav-principal-base= webdav-add-option= webdav-add-prop= webdav-add-collection-prop=
    webdav-add-object-prop= webdav-add-prop-href= webdav-add-collection-prop-href=
    webdav-add-object-prop-href= webdav-add-prop-comp= webdav-add-collection-prop-comp=
    webdav-add-object-prop-comp= webdav-add-rtype-prop= webdav-add-rtype-collection-prop=
    webdav-add-rtype-object-prop= webdav-skip-prop= glusterfs-mount= glusterfs-timeout= gridfs-mount=
    gridfs-debug rados-mount= rados-timeout= geoip-country= geoip-city= geoip-use-disk pam= pam-user=
    pty-socket= pty-log pty-input pty-connect= pty-uconnect= pty-no-isig pty-exec= ping= ping-timeout=
    notfound-log nagios rbthreads rb-threads rbthread rb-thread curl-cron= cron-curl= curl-cron-legion=
    cron-curl-legion=
C functions are not called.
    call-asap= call-as-root= call-as-user= call-as-user-atexit= call-pre-app= call-post-app=
Actions of this kind are not run; exec-* options run commands.
    hook-accepting= hook-accepting1= hook-accepting-once= hook-accepting1-once= hook-touch=
Requests do not call hooks.
    after-request-hook= after-request-call=
It belongs to the command line of uWSGI; see appserver --help.
    stop= reload= pause= suspend= resume= connect-and-read= extract= help usage print-sym= print-symbol=
    get= version cflags dot-h config-py build-plugin= binary-append-data= plugins-list plugin-list
    loop-list loops-list clock-list clocks-list binsh= command-mode no-server exit? iprint= binary-path=
    privileged-binary-patch= privileged-binary-patch-arg= unprivileged-binary-patch=
    unprivileged-binary-patch-arg= cgi-mode mode= file-write=
The kernel's files and interfaces are waited for by systemd: After=, Requires= or ConditionPathExists=.
    wait-for-interface= wait-for-interface-timeout= wait-interface= wait-interface-timeout=
    wait-for-iface= wait-for-iface-timeout= wait-iface= wait-iface-timeout= wait-for-fs= wait-for-file=
    wait-for-dir= wait-for-mountpoint= wait-for-fs-timeout= wait-for-socket= wait-for-socket-timeout=
    check-mountpoint= mountpoint-check= check-mount=
The cluster over multicast has been removed from uWSGI, too.
    udp= multicast= multicast-ttl= multicast-loop= propagate-touch
Privileges are dropped once the sockets are bound, before the application is loaded: use uid and gid.
    immediate-uid= immediate-gid= drop-after-init drop-after-apps
There is one pid file after the start: use safe-pidfile.
    safe-pidfile2=
Static files by their path alone are not looked for.
    ignore-script-name check-static-docroot
A worker accepts from all sockets of its server, however long their queues are.
    harakiri-queue-threshold=
The stacks of threads have the system's size: set ulimit -s.
    thread-stacksize= threads-stacksize= thread-stack-size= threads-stack-size=
The address must exist when the server starts: order the units with After=network-online.target.
    freebind
Modules have one name.
    pymodule-alias= post-pymodule-alias=
It is no WSGI application: this server calls WSGI.
    web3= pump= python-raw= test=
Lines of the log are not split into packets.
    rsyslog-packet-size= rsyslog-split-messages
There is one event loop, and its greenlets have the stack that they need.
    ugreen-stacksize=
Commands by the clock have the form of cron and unique-cron, and no limit of time.
    cron2= cron-harakiri=
Other programs are kept by attach-daemon and smart-attach-daemon alone.
    attach-daemon2= attach-control-daemon= smart-attach-daemon2=
No terminals are offered.
    forkpty-router= forkptyurouter= forkpty-urouter= forkpty-router-command= forkpty-router-cmd=
Every imported module is watched.
    py-auto-reload-ignore=
"""


def _read(text: str, *, unnecessary: bool) -> dict[str, Foreign]:
    found: dict[str, Foreign] = {}
    why = ""
    for line in text.strip().split("\n"):
        if not line.startswith(" "):
            why = line
            continue
        for word in line.split():
            name = word.rstrip("=?")
            found[name] = Foreign(name, word[len(name) :], unnecessary, why)
    return found


# The letters of uWSGI's that no option here has, also of what belongs to the language of its files.
SHORT = {
    "A": "sharedarea", "J": "test", "O": "optimize", "Q": "spooler", "S": "set", "T": "enable-threads",
    "c": "cgi-mode", "i": "single-interpreter", "j": "json", "m": "memory-report", "r": "reaper",
    "v": "max-vars", "x": "xml", "y": "yaml",
}  # fmt: skip
# What other servers call it, which some who come from there write.
ELSEWHERE = {
    "access-log": "req-logger", "access-logfile": "req-logger", "access-logformat": "log-format",
    "autoreload": "py-autoreload", "backlog": "listen", "bind": "http-socket",
    "channel-timeout": "socket-timeout", "connection-limit": "max-connections", "daemon": "daemonize",
    "error-log": "logto", "error-logfile": "logto",
    "graceful-timeout": "worker-reload-mercy", "group": "gid", "http-port": "http-socket",
    "keep-alive": "keepalive-timeout", "log-file": "logto", "logfile": "logto",
    "max-request-body-size": "limit-post", "max-requests-jitter": "max-requests-delta", "pid": "pidfile",
    "proc-name": "procname", "stats-port": "stats", "timeout": "harakiri", "unix-socket": "http-socket",
    "unix-socket-perms": "chmod-socket", "url-prefix": "mount", "user": "uid", "worker-class": "gevent",
    "worker-connections": "gevent", "wsgi-app": "module", "wsgi-module": "module",
}  # fmt: skip
FOREIGN = _read(_UNNECESSARY, unnecessary=True) | _read(_UNSUPPORTED, unnecessary=False)
