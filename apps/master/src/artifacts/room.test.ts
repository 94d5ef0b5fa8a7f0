import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { Room } from './room.js';

const GiB = 1024 ** 3;
const MiB = 1024 ** 2;
const sum = (list: readonly number[]) => list.reduce((all, one) => all + one, 0);
const of = (build: string, worker = 'w', memory = 0) => ({ build, worker, memory });

describe('the room for artifacts', () => {
  it('is needed in full by the build that offers, and held against others only as bytes come', () => {
    const room = new Room();
    const hog = room.take(of('hog'), 16 * GiB, 0, 0);
    expect(room.neededBy('hog')).toBe(16 * GiB);
    expect(room.neededBy('other')).toBe(MiB);
    room.moved(hog, 16 * GiB, GiB, 1);
    expect(room.neededBy('hog')).toBe(15 * GiB);
    expect(room.neededBy('other')).toBe(GiB);
    room.moved(hog, 16 * GiB, 15 * GiB, 2);
    expect(room.neededBy('other')).toBe(GiB);
    room.free(hog);
    room.free(hog);
    expect([room.neededBy('other'), room.open, room.claims]).toEqual([0, 0, 0]);
  });

  it('is given up by what does not move, until it does', () => {
    const room = new Room();
    const silent = room.take(of('silent'), GiB, 0, 0);
    room.take(of('busy'), GiB, 0, 10);
    expect(room.rest(5)).toBe(1);
    expect(room.rest(5)).toBe(0);
    expect(room.neededBy('other')).toBe(MiB);
    expect(room.neededBy('silent')).toBe(GiB + MiB);
    room.moved(silent, GiB, 1, 20);
    expect(room.neededBy('other')).toBe(2 * MiB);
  });

  it('has sums that are those of what is there, whatever comes and goes', () => {
    const step = fc.record({
      build: fc.constantFrom('a', 'b', 'c'),
      worker: fc.constantFrom('v', 'w'),
      memory: fc.nat(1000),
      size: fc.nat(5 * MiB),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
      act: fc.constantFrom('take', 'move', 'free', 'rest'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const room = new Room();
        const places: { place: ReturnType<Room['take']>; size: number }[] = [];
        for (const [now, { act, size, part, ...who }] of steps.entries()) {
          const at = Math.floor(part * places.length);
          const known = places[at];
          if (act === 'take') places.push({ place: room.take(who, size, 0, now), size });
          else if (act === 'rest') room.rest(now - 3);
          else if (act === 'move' && known)
            room.moved(known.place, known.size, Math.floor(part * known.size), now);
          else if (known) room.free(places.splice(at, 1)[0]?.place ?? known.place);
        }
        const all = places.map(({ place }) => place);
        expect(room.claims).toBe(sum(all.map(({ claim }) => claim)));
        expect(room.memory).toBe(sum(all.map(({ memory }) => memory)));
        for (const build of ['a', 'b', 'c']) {
          const own = all.filter((place) => place.build === build);
          const others = all.filter((place) => place.build !== build);
          expect(room.openOf(build)).toBe(own.length);
          expect(room.neededBy(build)).toBe(
            sum(own.map(({ left }) => left)) + sum(others.map(({ claim }) => claim)),
          );
        }
        for (const worker of ['v', 'w']) {
          const own = all.filter((place) => place.worker === worker);
          expect(room.memoryOf(worker)).toBe(sum(own.map(({ memory }) => memory)));
        }
      }),
      { numRuns: 50 },
    );
  });
});
