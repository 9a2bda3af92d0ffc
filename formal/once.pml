/* once.pml : a sealed command reaches the application at most once (SPIN).

   Code: guard::once::{ledger, log, running}. What names a command holds the digest of its body, so another body is another
   command; here a command is a number. Two requests run at a time, each command is given any number of times: by the page,
   a browser's second try, an attacker. Power fails twice, between any two steps.

     claimed in RAM, at once  ->  its record queued  ->  synced, with all that are queued  ->  the request's last byte is sent
     before that it may be given back, which is written down and not waited for; afterwards its outcome is told or unknown
     after a crash: a record "sent" that nothing follows means unknown; what has no record never left

   P1  no command reaches the application twice

   Scenarios that must fail:
     ORDER=2   sent first, written down afterwards
     ORDER=3   looked up and claimed in two steps
     ORDER=4   sent while its record waits for the disk
     ORDER=5   given back, and so run again, when the connection broke after it was sent
     REPLAY=0  a start looks at outcomes only, not at what was sent */
#ifndef ORDER
#define ORDER 1
#endif
#ifndef REPLAY
#define REPLAY 1
#endif
#define S 2
#define R 2
#define NONE 0
#define CHECKED 1
#define CLAIMED 2
#define QUEUED 3
#define MAYSEND 4
#define FORWARDED 5
/* records */
#define SENT 1
#define UNSENT 2
#define SETTLED 3

bool taken[S];                 /* RAM: running, answered or unknown */
byte disk[S];                  /* the last record of a command that is on the disk for sure */
byte tail[S];                  /* the last one written */
bool tailed1[S], tailed2[S], tailed3[S];   /* kinds among those that are not synced: a crash may stop at any of them */
byte stage[R], name[R];
byte ran[S];                   /* ghost: how often the application got it */
byte crashes = 0;

inline write(s, kind) {
  tail[s] = kind;
  if :: kind == SENT -> tailed1[s] = true :: kind == UNSENT -> tailed2[s] = true :: else -> tailed3[s] = true fi
}
inline forward(r) { ran[name[r]]++; assert(ran[name[r]] <= 1); stage[r] = FORWARDED }     /* P1 */

active proctype World() {
  byte r, s;
  do
  :: atomic { select(r : 0 .. R-1); select(s : 0 .. S-1);      /* a command is given */
       if
#if ORDER==3
       :: (stage[r] == NONE && !taken[s]) -> name[r] = s; stage[r] = CHECKED
#else
       :: (stage[r] == NONE && !taken[s]) -> taken[s] = true; name[r] = s; stage[r] = CLAIMED
#endif
       :: else -> skip fi; r = 0; s = 0 }
  :: atomic { select(r : 0 .. R-1);                            /* its run goes one step on */
       if
       :: stage[r] == CHECKED -> taken[name[r]] = true; stage[r] = CLAIMED
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
       r = 0; s = 0 }
  :: crashes < 2 -> atomic { crashes++;
       s = 0;
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
