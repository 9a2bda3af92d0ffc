/* last.pml : who gets an answer from the controller: silence to recordings, an answer to the device (SPIN).

   docs/protocol.md, section 6, "Freshness", "Clock wrong". Code: proto::recognition::freshness.

   A device's knock is its stamp. The attacker records what was delivered and sends it again at any time, may set the
   device's clock back, and the controller may be killed and started again, once. The gateway's seen-set is durable
   (mark.pml).

     silence    iff  stamp <= last - M,  or its id is known,  or the gateway has seen it
     ready      iff  |stamp - now| <= W  and none of these
     time       iff  outside of W, stamp > old, and the row was not told the time within PAUSE; last does not move
     last is written to the disk now and then; ids are RAM; old = what last was on the disk at the start
     the device stamps  max(clock, acknowledged + 1)

   A1  a knock that was accepted, and whose acceptance is on the controller's disk, never draws an answer again, as long as
       the gateway answers the controller
   A2  a device with nothing in its way is answered, ready or time, but for a second time answer within PAUSE
   A3  no knock is ready twice, flushed or not
   A4  what the network withheld draws one answer in a life of the controller at most

   Scenarios:
     WITHHOLD=1   the network keeps knocks for later (A2 is then not claimed: somebody is in the way)    holds
   and those that must fail:
     NOLAST=1     last is not kept                                                                       A1
     NOOLD=1      after a start only the margin counts: what lies in it is told the time                 A1
     GSEEN=0      the gateway forgets with the controller's crash                                        A3
     CLOCKONLY=1  the device stamps by its clock alone                                                   A2
     AWAY=1       the gateway may be away: what lies in the margin, is of now and is sent again after a
                  restart is told so, sealed. No rule is left out: this is a limit of the promise         A1 */
#ifndef WITHHOLD
#define WITHHOLD 0
#endif
#ifndef NOLAST
#define NOLAST 0
#endif
#ifndef NOOLD
#define NOOLD 0
#endif
#ifndef GSEEN
#define GSEEN 1
#endif
#ifndef AWAY
#define AWAY 0
#endif
#ifndef CLOCKONLY
#define CLOCKONLY 0
#endif
#define W 1
#define M 2
#define PAUSE 1
#ifndef N
#define N 10
#endif
#ifndef TMAX
#define TMAX 6
#endif

byte now = 3, last = 0, disk = 0, old = 0, acked = 0, told = 0, clk;
bool sent[N], seen[N], gseen[N];
bool accepted[N], flushed[N];      /* ghosts: accepted in this life, or so that it is on the disk; and on the disk */
bool ready[N];                     /* ghost: was ready once */
bool drew[N];                      /* ghost: was answered in this life */
byte crashes = 0, skews = 0; byte skew = 3;      /* the device's clock = now + skew - 3 */
bool answered, paused, away = false;

inline arrive(t) {
  answered = false; paused = told > 0 && now < told + PAUSE;
  if
  :: ((!NOLAST && t + M <= last) || seen[t]) -> skip
  :: else ->
     if
     :: (t <= now + W && t + W >= now) ->                      /* accepted, and put before the gateway */
          seen[t] = true; accepted[t] = true;
          if :: t > last -> last = t :: else -> skip fi;
          if :: away -> answered = true; drew[t] = true
             :: (!away && gseen[t]) -> skip
             :: else -> assert(!ready[t] && !drew[t]);               /* A3, A4 */
                gseen[t] = true; ready[t] = true; answered = true; drew[t] = true fi
     :: (t > now + W || t + W < now) ->
          if :: ((!NOLAST && !NOOLD && t <= old) || paused) -> skip
             :: else -> assert(!drew[t]);                           /* A4 */
                seen[t] = true; told = now; answered = true; drew[t] = true fi
     fi
  fi
}

active proctype World() {
  byte t, i;
  do
  :: now >= TMAX -> break
  :: now < TMAX -> d_step { now++ }
  :: d_step { disk = last; for (i : 0 .. N-1) { if :: (accepted[i] && i <= disk) -> flushed[i] = true :: else -> skip fi } i = 0 }
  :: d_step {                                                  /* an honest knock, delivered */
       clk = now + skew - 3;
#if CLOCKONLY
       t = clk;
#else
       if :: clk > acked -> t = clk :: else -> t = acked + 1 fi;
#endif
       if :: (t < N && !sent[t]) -> sent[t] = true; arrive(t);
             assert(WITHHOLD || answered || paused);           /* A2 */
             if :: (answered && accepted[t]) -> acked = t :: else -> skip fi
          :: else -> skip fi;
       t = 0; clk = 0 }
#if AWAY
  :: d_step { away = !away }
#endif
#if WITHHOLD
  :: d_step { clk = now + skew - 3; if :: (clk < N) -> sent[clk] = true :: else -> skip fi; clk = 0 }
#endif
  :: atomic { select(i : 0 .. N-1);
       if :: sent[i] -> d_step { arrive(i); assert(!(answered && flushed[i])); i = 0 }      /* A1 */
          :: else -> skip fi }
  :: skews < 2 -> d_step { skews++; if :: skew == 3 -> skew = 1 :: else -> skew = 3 fi }
  :: crashes < 1 -> d_step { crashes++; last = disk; old = disk; told = 0;
       for (i : 0 .. N-1) { seen[i] = false; drew[i] = false; accepted[i] = flushed[i];
#if !GSEEN
         gseen[i] = false
#endif
       }
       i = 0 }
  od
}
