import bcrypt from 'bcrypt'

/** bcrypt, in libuv's thread pool. `cost` is the logarithm of the rounds. */
export const hashPassword = (password: string, cost: number): Promise<string> => bcrypt.hash(password, cost)

/** With no hash it takes as long, against a hash that no password has, and says no. A password over 72 bytes is never right. */
export const comparePassword = async (password: string, hash: string | null, cost: number): Promise<boolean> => {
  const matches = await bcrypt.compare(password, hash ?? nobodys(cost))
  return matches && hash !== null && Buffer.byteLength(password) <= 72 && !password.includes('\0')
}

/** A salt of zeros and a digest of zeros, as bcrypt writes them. */
const nobodys = (cost: number): string => `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`
