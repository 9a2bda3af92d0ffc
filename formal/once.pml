/* once.pml : a sealed command reaches the application at most once (SPIN).

   Code: guard::once::{ledger, starts, log, running, begun}. What names a command holds the digest of its body, so another body is another
   command; here a command is a number. Two requests run at a time, each command is given any number of times: by the page,
   a browser's second try, an attacker. Power fails twice, between any two steps.

     claimed in RAM, at once  ->  its record queued  ->  synced, with all that are queued  ->  the request's last byte is sent
     before that it may be given back, which is written down and not waited for; afterwards its outcome is told or unknown
     after a crash: a record "sent" that nothing follows means unknown; what has no record never left

   LARGE=1: commands whose beginning goes to the application before the rest has come, and with it their name. Both begin alike.
   The beginning is claimed and written down like a command; at the end a record gives the name and settles the beginning.
   While one is under way, what begins alike waits; behind one that has come to its end it is read whole, and goes by its name;
   behind one that never came to its end it is told so.

   P1  no command reaches the application twice, nor does its beginning

   Scenarios that must fail:
     ORDER=2   sent first, written down afterwards
     ORDER=3   looked up and claimed in two steps
     ORDER=4   sent while its record waits for the disk
     ORDER=5   given back, and so run again, when the connection broke after it was sent
     REPLAY=0  a start looks at outcomes only, not at what was sent
     LARGE=1 STARTS=0   a start does not look at beginnings
     LARGE=1 COMPARE=0  what begins like one that has come to its end is not compared with it */
#ifndef ORDER
#define ORDER 1
#endif
#ifndef REPLAY
#define REPLAY 1
#endif
#ifndef LARGE
#define LARGE 0
#endif
#ifndef STARTS
#define STARTS 1
#endif
#ifndef COMPARE
#define COMPARE 1
#endif
#define S 2
#define R 2
#define NONE 0
#define CHECKED 1
#define CLAIMED 2
#define QUEUED 3
#define MAYSEND 4
#define FORWARDED 5
#define BEGUN 6
#define BQUEUED 7
#define MAYBEGIN 8
#define HALF 9
#define NAMED 10
/* records */
#define SENT 1
#define UNSENT 2
#define SETTLED 3
/* how a beginning stands: in RAM, and as the last record on the disk says */
#define FREE 0
#define RUNS 1
#define WHOLE 2
#define LOST 3

bool taken[S];                 /* RAM: running, answered or unknown */
byte disk[S];                  /* the last record of a command that is on the disk for sure */
byte tail[S];                  /* the last one written */
bool tailed1[S], tailed2[S], tailed3[S];   /* kinds among those that are not synced: a crash may stop at any of them */
byte stage[R], name[R];
#if LARGE
byte start, dstart, tstart;    /* the one beginning: in RAM, on the disk for sure, last written */
bool bruns, bwhole[S], blost, bfree;       /* its records that are not synced; of its end, by whose name */
#endif
byte ran[S];                   /* ghost: how often the application got it */
byte crashes = 0;

inline write(s, kind) {
  tail[s] = kind;
  if :: kind == SENT -> tailed1[s] = true :: kind == UNSENT -> tailed2[s] = true :: else -> tailed3[s] = true fi
}
#if LARGE
inline begin(kind) {
  tstart = kind;
  if :: kind == RUNS -> bruns = true :: kind == LOST -> blost = true :: kind == FREE -> bfree = true :: else -> skip fi
}
inline nothing_waits() { bruns = false; blost = false; bfree = false; bwhole[0] = false; bwhole[1] = false }
inline reach(r) { ran[name[r]]++; assert(ran[name[r]] <= 1); stage[r] = HALF }            /* P1 */
#endif
inline forward(r) { ran[name[r]]++; assert(ran[name[r]] <= 1); stage[r] = FORWARDED }     /* P1 */

active proctype World() {
  byte r, s;
  do
  :: atomic { select(r : 0 .. R-1); select(s : 0 .. S-1);      /* a command is given */
       if
#if LARGE
       :: (stage[r] == NONE && start == FREE) -> start = RUNS; name[r] = s; stage[r] = BEGUN
#if COMPARE
       :: (stage[r] == NONE && start == WHOLE && !taken[s]) -> taken[s] = true; name[r] = s; stage[r] = CLAIMED
#else
       :: (stage[r] == NONE && start == WHOLE) -> start = RUNS; name[r] = s; stage[r] = BEGUN
#endif
#elif ORDER==3
       :: (stage[r] == NONE && !taken[s]) -> name[r] = s; stage[r] = CHECKED
#else
       :: (stage[r] == NONE && !taken[s]) -> taken[s] = true; name[r] = s; stage[r] = CLAIMED
#endif
       :: else -> skip fi; r = 0; s = 0 }
  :: atomic { select(r : 0 .. R-1);                            /* its run goes one step on */
       if
       :: stage[r] == CHECKED -> taken[name[r]] = true; stage[r] = CLAIMED
#if LARGE
       :: stage[r] == BEGUN -> begin(RUNS); stage[r] = BQUEUED
       :: stage[r] == MAYBEGIN -> reach(r)
       :: stage[r] == HALF -> taken[name[r]] = true; write(name[r], SENT);            /* its end has come */
            tstart = WHOLE; bwhole[name[r]] = true; stage[r] = NAMED
       :: (stage[r] == HALF || stage[r] == MAYBEGIN) -> begin(LOST); start = LOST; stage[r] = NONE    /* it breaks off */
       :: stage[r] == NAMED -> write(name[r], SETTLED); begin(LOST); start = LOST; stage[r] = NONE
       :: stage[r] == BEGUN -> start = FREE; stage[r] = NONE                                    /* given back */
       :: (stage[r] == BQUEUED || stage[r] == MAYBEGIN) -> begin(FREE); start = FREE; stage[r] = NONE
#endif
#if ORDER==2
       :: stage[r] == CLAIMED -> forward(r)
       :: stage[r] == FORWARDED -> write(name[r], SETTLED); stage[r] = NONE
#else
       :: stage[r] == CLAIMED -> write(name[r], SENT); stage[r] = QUEUED
       :: stage[r] == MAYSEND -> forward(r)
       :: stage[r] == FORWARDED -> write(name[r], SETTLED); stage[r] = NONE       /* answered, or its client has left */
       :: stage[r] == MAYSEND -> write(name[r], SETTLED); stage[r] = NONE         /* its client has left: unknown */
#endif
#if ORDER==4
       :: stage[r] == QUEUED -> forward(r)
#endif
#if ORDER==5
       :: stage[r] == FORWARDED -> write(name[r], UNSENT); taken[name[r]] = false; stage[r] = NONE
#endif
       :: stage[r] == CLAIMED -> taken[name[r]] = false; stage[r] = NONE          /* given back */
       :: (stage[r] == QUEUED || stage[r] == MAYSEND) -> write(name[r], UNSENT); taken[name[r]] = false; stage[r] = NONE
       :: stage[r] == NONE -> skip
       fi; r = 0 }
  :: d_step {                                                  /* one sync for all that wait */
       for (s : 0 .. S-1) { disk[s] = tail[s]; tailed1[s] = false; tailed2[s] = false; tailed3[s] = false }
       for (r : 0 .. R-1) { if :: stage[r] == QUEUED -> stage[r] = MAYSEND :: else -> skip fi }
#if LARGE
       for (r : 0 .. R-1) {
         if :: stage[r] == BQUEUED -> stage[r] = MAYBEGIN :: stage[r] == NAMED -> stage[r] = FORWARDED; start = WHOLE :: else -> skip fi }
       dstart = tstart; nothing_waits();
#endif
       r = 0; s = 0 }
  :: crashes < 2 -> atomic { crashes++;
       s = 0;
#if LARGE
       /* the record of an end is one: what it says of the name is there, too */
       if :: skip :: bruns -> dstart = RUNS :: blost -> dstart = LOST :: bfree -> dstart = FREE
          :: bwhole[0] -> dstart = WHOLE; disk[0] = SENT :: bwhole[1] -> dstart = WHOLE; disk[1] = SENT fi;
#if STARTS
       if :: dstart == RUNS -> dstart = LOST :: else -> skip fi;
#else
       if :: dstart == RUNS -> dstart = FREE :: else -> skip fi;
#endif
       start = dstart; tstart = dstart; nothing_waits();
#endif
       do
       :: s < S ->
            if :: skip :: tailed1[s] -> disk[s] = SENT :: tailed2[s] -> disk[s] = UNSENT :: tailed3[s] -> disk[s] = SETTLED fi;
            tail[s] = disk[s]; tailed1[s] = false; tailed2[s] = false; tailed3[s] = false;
#if REPLAY
            taken[s] = (disk[s] == SENT || disk[s] == SETTLED);
#else
            taken[s] = (disk[s] == SETTLED);
#endif
            s++
       :: else -> break
       od;
       for (r : 0 .. R-1) { stage[r] = NONE; name[r] = 0 }
       r = 0; s = 0 }
  :: (crashes == 2 && stage[0] == NONE && stage[1] == NONE) -> break
  od
}
