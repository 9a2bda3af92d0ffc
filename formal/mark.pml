/* mark.pml : no knock is fresh twice for the gateway, whatever happens to its process, its machine and its clock (SPIN).

   The gateway decides, by a seen-set that it mostly writes without waiting for the disk (docs/protocol.md, section 6,
   "What the gateway has seen outlasts every restart"). Code: gateway::directory::{knocks, floor, keeping}.

   A knock is its stamp; every stamp may come at any time and any number of times, from the controller itself too. The
   process may be killed, the power may fail, the clock may be set, forwards and back.

     fresh iff  stamp + W >= now  and  stamp > floor  and  not in the set
     written without waiting  iff  stamp <= mark  and  now + LEFT <= mark <= now + AHEAD;
     else the commit is waited for, takes everything written before to the disk, and sets mark = now + AHEAD
     started in another run of the machine:  floor = max(floor, mark)
     forgotten once K old, and the floor is raised to what was forgotten

   P1  no stamp is fresh twice
   P2  a new knock, stamped now, is fresh, unless it lies at or below the floor

   Scenarios that must fail (P1):
     KEPT=0    the set is RAM, and goes with the process
     MARK=0    written without waiting, and nothing is done about it after a failure of power
     MARK=2    what is stamped above the mark does not wait either
     LOWER=1   the mark is lowered, after the clock was set back, without taking to the disk what stands below it
     FORGET=0  what is forgotten does not raise the floor */
#ifndef KEPT
#define KEPT 1
#endif
#ifndef MARK
#define MARK 1
#endif
#ifndef LOWER
#define LOWER 0
#endif
#ifndef FORGET
#define FORGET 1
#endif
#define W 1
#define K 2          /* 2 W */
#define AHEAD 2
#define LEFT 1
#define TMAX 5
#define N 7

byte now = 1, floor = 0, mark = 0, crashes = 0, jumps = 0;
bool known = false;            /* this process knows the mark: after its start the first knock sets it anew */
bool held[N], synced[N];       /* in the set; and on the disk for sure */
bool fresh[N];                 /* ghost: was called fresh */
bool took;

inline sync() {
  for (k : 0 .. N-1) { synced[k] = held[k] }
}

inline remember(t) {
  took = false;
  if
  :: (t + W >= now && t > floor && !held[t]) ->
       assert(!fresh[t]);                                      /* P1 */
       fresh[t] = true; held[t] = true; took = true;
       if
#if MARK==2
       :: (known && now + LEFT <= mark && mark <= now + AHEAD) -> skip
#else
       :: (known && t <= mark && now + LEFT <= mark && mark <= now + AHEAD) -> skip
#endif
       :: else ->
#if LOWER
            synced[t] = true;
            if :: mark <= now + AHEAD -> sync() :: else -> skip fi;
#else
            sync();
#endif
            mark = now + AHEAD; known = true
       fi
  :: else -> skip
  fi
}

active proctype World() {
  byte i, k;
  do
  :: now >= TMAX && jumps >= 1 && crashes >= 2 -> break
  :: now < TMAX -> d_step { now++ }
  :: jumps < 1 -> atomic { select(i : 0 .. TMAX); now = i; jumps++; i = 0 }          /* somebody sets the clock */
  :: d_step { remember(now); assert(took || fresh[now] || now <= floor); k = 0 }     /* P2 */
  :: atomic { select(i : 0 .. N-1); d_step { remember(i); i = 0; k = 0 } }
  :: d_step {                                                  /* every minute: what is old is forgotten, durably */
       for (i : 0 .. N-1) {
         if :: (held[i] && i + K <= now) -> held[i] = false;
#if FORGET
              if :: i > floor -> floor = i :: else -> skip fi
#endif
            :: else -> skip fi
       }
       sync(); i = 0; k = 0 }
  :: crashes < 2 -> d_step { crashes++; known = false;         /* the process is killed: what it wrote is there */
#if !KEPT
       for (i : 0 .. N-1) { held[i] = false; synced[i] = false }
#endif
       i = 0 }
  :: crashes < 2 -> atomic { crashes++; known = false;         /* the power fails: what was not synced may be lost, or not */
       i = 0;
       do
       :: i < N -> if :: (held[i] && !synced[i]) -> if :: held[i] = false :: synced[i] = true fi :: else -> held[i] = synced[i] fi; i++
       :: else -> break
       od;
#if MARK
       if :: mark > floor -> floor = mark :: else -> skip fi;
#endif
       mark = 0; i = 0 }
  od
}
