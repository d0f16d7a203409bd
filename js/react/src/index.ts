import {
  createContext, createElement, useCallback, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore,
  type ReactElement, type ReactNode,
} from 'react';
import { connect, type Gap, type Hub, type HubbubError, type Member, type Message, type Off, type Options, type Presence, type Receives, type Room, type State } from '@hubbub/client';
import { hold } from './hold.js';

/** A second try may go better. Everything else is the server's last word. */
const PASSING = ['rate_limited', 'unavailable', 'timeout', 'internal', 'closed'];
const AGAIN_AFTER = 1_500; // the same for all that use a room, so that one join serves them

const HubContext = createContext<Hub<never> | undefined>(undefined);

export type HubbubProviderProps =
  /** A hub of the application's own, which it closes itself. */
  | { hub: Hub<never>; url?: undefined; options?: undefined; children?: ReactNode }
  /** Connects when mounted, closes when unmounted. Options are read once for each url. */
  | { hub?: undefined; url: string; options?: Options; children?: ReactNode };

export function HubbubProvider({ hub, url, options, children }: HubbubProviderProps): ReactElement {
  // Lazy: rendering opens no socket, so a render that React throws away costs nothing.
  const current = useMemo(() => hub ?? connect<never>(url!, { ...options, lazy: true }), [hub, url]);
  useEffect(() => (hub ? undefined : hold(current, () => current.connect(), () => current.close())), [hub, current]);
  return createElement(HubContext.Provider, { value: current }, children);
}

/** The hub of the nearest HubbubProvider. */
export function useHub<A = object>(): Hub<A> {
  const hub = useContext(HubContext);
  if (!hub) throw new Error('useHub needs a HubbubProvider around it');
  return hub as unknown as Hub<A>;
}

/** The state of the connection; renders again when it changes. */
export function useHubState(): State {
  const hub = useHub();
  const get = () => hub.state;
  return useSyncExternalStore(useCallback((changed) => hub.on('state', changed), [hub]), get, get);
}

export interface UseRoomOptions<A> {
  /** For the admission rule; read when the room is joined. */
  content?: unknown;
  /** Handlers by message type. They may change with every render. */
  on?: { [K in keyof Receives<A> & string]?: (message: Message<Receives<A>[K]>) => void };
  onGap?: (gap: Gap) => void;
}

export interface UsedRoom<A> {
  room: Room<A>;
  joined: boolean;
  /**
   * A HubbubError: why the server does not let us in, or `not_member` where it has taken us
   * out; absent from the next join on. What may pass is tried again.
   */
  error?: unknown;
}

const all = (offs: Off[]) => () => offs.forEach((off) => off());

/** Is in the room while a component that uses it is mounted. */
export function useRoom<A = object>(name: string, options: UseRoomOptions<A> = {}): UsedRoom<A> {
  const hub = useHub<A>();
  const room = hub.room(name);
  const latest = useRef(options);
  const [failure, setFailure] = useState<{ room: Room<A>; error: unknown }>();
  const types = Object.keys(options.on ?? {});

  useEffect(() => { latest.current = options; });

  // Before the join, so that nothing of the room is missed.
  useEffect(() => {
    const offs = types.map((type) => room.on(type as never, (message: never) => {
      (latest.current.on as Record<string, (message: never) => void> | undefined)?.[type]?.(message);
    }));
    return all([...offs, room.on('gap', (gap) => latest.current.onGap?.(gap)), room.on('join', () => setFailure(undefined))]);
  }, [room, types.sort().join('\n')]);

  useEffect(() => {
    let mounted = true;
    let again = false; // it is to be tried again
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tell = (error: unknown) => setFailure({ room, error });
    const enter = () => {
      again = hub.state === 'closed'; // then with the next connection
      if (!again) room.join(latest.current.content).catch(failed);
    };
    const retry = () => { if (mounted && again) enter(); };
    const failed = (error: HubbubError) => {
      if (!mounted) return;
      tell(error);
      again = PASSING.includes(error.code);
      if (again) timer = setTimeout(retry, error.retryAfter ?? AGAIN_AFTER);
    };
    const offs = [hub.on('state', retry), room.on('leave', tell)];
    const release = hold(room, enter, () => { room.leave().catch(() => {}); });
    return () => {
      mounted = false;
      clearTimeout(timer);
      all(offs)();
      release();
    };
  }, [hub, room]);

  const subscribe = useCallback((changed: () => void) => {
    return all([room.on('join', changed), room.on('leave', changed), hub.on('state', changed)]);
  }, [hub, room]);
  const joined = useSyncExternalStore(subscribe, () => room.joined, () => false);
  return { room, joined, error: failure?.room === room ? failure.error : undefined };
}

/** Who is in the room; renders again when that changes. Empty where the room is too large for a list, or only counts. */
export function usePresence<A = object>(room: Room<A>): readonly Member[] {
  return usePresenceOf(room, ({ list }) => list);
}

/** How many are in the room, whether there is a list or not; renders again when that changes. */
export function usePresenceCount<A = object>(room: Room<A>): number {
  return usePresenceOf(room, ({ count }) => count);
}

function usePresenceOf<T>({ presence }: { readonly presence: Presence }, read: (presence: Presence) => T): T {
  const get = () => read(presence);
  return useSyncExternalStore(useCallback((changed) => presence.subscribe(changed), [presence]), get, get);
}
