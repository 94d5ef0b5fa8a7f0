import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { deferred } from '@impgem/kit';
import { Silence } from './silence.js';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function silence(ms: number) {
  const onSilence = jest.fn();
  const watch = new Silence(ms, onSilence);
  watch.begin();
  return { silence: watch, onSilence };
}

describe('Silence', () => {
  it('counts anew from each word', async () => {
    const { silence: watch, onSilence } = silence(1000);
    for (let word = 0; word < 5; word++) {
      await jest.advanceTimersByTimeAsync(999);
      await watch.heard();
    }
    expect(onSilence).not.toHaveBeenCalled();
    await jest.advanceTimersByTimeAsync(1000);
    expect(onSilence).toHaveBeenCalledTimes(1);
  });

  it('does not count while output waits for the disk', async () => {
    const { silence: watch, onSilence } = silence(1000);
    const stored = deferred();
    const heard = watch.heard(stored.promise);
    await jest.advanceTimersByTimeAsync(60_000);
    expect(onSilence).not.toHaveBeenCalled();
    stored.resolve();
    await heard;
    await jest.advanceTimersByTimeAsync(1000);
    expect(onSilence).toHaveBeenCalledTimes(1);
  });

  it('does not count before the step runs', async () => {
    const onSilence = jest.fn();
    const watch = new Silence(1000, onSilence);
    await watch.heard();
    await jest.advanceTimersByTimeAsync(60_000);
    expect(onSilence).not.toHaveBeenCalled();
    watch.begin();
    await jest.advanceTimersByTimeAsync(1000);
    expect(onSilence).toHaveBeenCalledTimes(1);
  });

  it('says nothing after its end, whatever is still heard', async () => {
    const { silence: watch, onSilence } = silence(1000);
    watch.end();
    await watch.heard();
    await jest.advanceTimersByTimeAsync(10_000);
    expect(onSilence).not.toHaveBeenCalled();
  });

  it('gives the step its time again when this process slept', async () => {
    const { silence: watch, onSilence } = silence(1000);
    // Both clocks jump; the timer comes when they have.
    jest.setSystemTime(Date.now() + 60_000);
    const now = performance.now();
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => now + 60_000);
    await jest.advanceTimersByTimeAsync(1000);
    expect(onSilence).not.toHaveBeenCalled();
    clock.mockRestore();
    watch.end();
  });
});
