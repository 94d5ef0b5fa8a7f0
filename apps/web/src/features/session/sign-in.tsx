import { Button, PasswordInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { signIn as openSession } from '../../lib/api.js';
import type { Session } from '@impgem/client';
import { Gem } from '../../ui/gem.js';
import { useTitle } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import styles from './sign-in.module.css';

/** The token goes to the master once and is not kept: what stays is a cookie that scripts cannot read. */
export function SignIn({ onSignedIn }: { onSignedIn: (session: Session) => void }) {
  useTitle('Sign in');
  const [token, setToken] = useState('');
  const signIn = useMutation({ mutationFn: openSession, onSuccess: onSignedIn });
  return (
    <main className={styles.screen}>
      <form
        className={styles.card}
        onSubmit={(event) => {
          event.preventDefault();
          signIn.mutate(token.trim());
        }}
      >
        <div className={styles.brand}>
          <Gem size={40} />
          <h1>Imp Gem</h1>
        </div>
        {signIn.error && <ProblemAlert error={signIn.error} />}
        <PasswordInput
          label="API token"
          description="Begins with igt_"
          placeholder="igt_…"
          name="token"
          autoComplete="off"
          spellCheck={false}
          autoFocus
          required
          withAsterisk={false}
          value={token}
          onChange={(event) => setToken(event.currentTarget.value)}
          visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the token' }}
        />
        <Button type="submit" fullWidth mt={16} loading={signIn.isPending} disabled={!token.trim()}>
          Sign in
        </Button>
        <p className={styles.hint}>
          The first start of a master writes an admin token into the file <code>admin-token</code>{' '}
          of its data folder. For more, an admin runs <code>impgem token create</code>.
        </p>
      </form>
    </main>
  );
}
