/* replay.pml : no recorded knock is accepted twice where the controller alone remembers (SPIN).

   That is a gateway's own knock for its link: nobody keeps a durable seen-set for it (docs/protocol.md, section 6,
   "After a restart"). Code: proto::recognition::{freshness, arrival, challenge}.

   A knock is its stamp. The network withholds, delays, reorders, copies and re-sends every knock any number of times, the
   knocking side's clock may be far ahead, the controller may be killed and started again, once. Its clock does not run
   back over a restart (within a life steady.rs sees to that).

     accept iff  stamp > floor  and  not in seen  and  ( |stamp - now| <= W and stamp > ask  or  it echoes a challenge )
     floor = last - M;  last is written to the disk now and then;  seen and the key of the challenges are RAM
     ask   = start + W : up to there a stamp is accepted with a challenge of this life only

   P1  no stamp is accepted twice
   P2  a new knock, rightly stamped and with nothing in its way, is accepted; from a start until W later it may first have
       to be challenged

   Scenarios that must fail:
     ASK=0        nothing is asked after a start                                                     P1
     ASK=2        challenges are asked for up to the moment of the start only                        P1
     KEYKEPT=1    challenges of an earlier life are still good                                       P1
     FUTURECAP=0  WireGuard's rule instead (CVE-2021-46873): accept iff stamp > greatest accepted    P2 */
#ifndef ASK
#define ASK 1
#endif
#ifndef KEYKEPT
#define KEYKEPT 0
#endif
#ifndef FUTURECAP
#define FUTURECAP 1
#endif
#define W 1
#define M 1
#ifndef TMAX
#define TMAX 4
#endif
#ifndef N
#define N 8
#endif

byte now = 1, last = 0, disk = 0, ask = 0, crashes = 0;
bool sent[N], seen[N], accepted[N];
bool echo[N];         /* this knock bears a challenge that is good */
bool given = false;   /* the honest side was given a challenge in this life */
bool took;

inline deliver(t) {
  took = false;
  if
#if FUTURECAP
  :: (t + M > last && !seen[t] && ((t <= now + W && t + W >= now && t > ask) || echo[t])) ->
#else
  :: (t > last) ->
#endif
       assert(!accepted[t]);                                   /* P1 */
       seen[t] = true; accepted[t] = true; took = true;
       if :: t > last -> last = t :: else -> skip fi
  :: else -> skip
  fi
}

inline start() {
#if ASK==1
  ask = now + W
#elif ASK==2
  ask = now
#else
  skip
#endif
}

active proctype World() {
  byte i;
  start();
  do
  :: now >= TMAX -> break
  :: now < TMAX -> d_step { now++ }
  :: d_step { disk = last }                                    /* written down, off the knock's path */
  :: !sent[now] -> d_step {                                    /* an honest knock, delivered at once */
       sent[now] = true; echo[now] = given; deliver(now);
#if FUTURECAP
       assert(took || (!echo[now] && now <= ask) || now + M <= last);  /* P2 */
       if :: (!took && now <= ask) -> given = true :: else -> skip fi
#else
       assert(took)                                            /* P2 */
#endif
     }
  :: !sent[now] -> d_step { sent[now] = true; echo[now] = given }      /* one that the network keeps for later */
  :: now + W < N -> d_step { sent[now+W] = true; deliver(now+W) }      /* a clock ahead, inside the window */
  :: now + W + 3 < N -> d_step { sent[now+W+3] = true; deliver(now+W+3) }  /* and outside of it */
  :: atomic { select(i : 0 .. N-1); if :: sent[i] -> d_step { deliver(i) } :: else -> skip fi }  /* any copy, any time */
  :: crashes < 1 -> d_step { crashes++;
       for (i : 0 .. N-1) { seen[i] = false;
#if !KEYKEPT
         echo[i] = false
#endif
       }
       given = KEYKEPT && given;
       last = disk; start(); i = 0 }
  od
}
